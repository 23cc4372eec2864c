"""The figure of a search: the value of every trial, one violin for each network and training method."""

from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np

from wsol.reports.canvas import PngFigure

_COLOR, _BEST, _INK = "#0072B2", "#D55E00", "#202020"  # of Okabe & Ito, as in the figures of a comparison
_WIDTH, _HEIGHT = 1.3, 4.0  # inches: of a violin, of the figure
_CHARACTER = 0.07  # inches: of a label, about
_LEAST = 3  # different values that a density is estimated from


@matplotlib.style.context("default")
def trials_figure(
    groups: Sequence[tuple[str, str, Sequence[float], int, float]], networks: bool, title: str, y: str
) -> PngFigure:
    """Draw the values of trials, as Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right" do.

    Each violin shows the density of the values, each dot a trial, and the star the best one.

    Args:
        groups: Network, method, values in percent, number of diverged trials and best value, NaN if it is not known.
        networks: Whether the labels name the network.
        title: One line in small print.
        y: Label of the y axis.
    """
    longest = max((len(part) for network, method, *_ in groups for part in (network * networks, method)), default=0)
    width = max(_WIDTH, 0.3 + _CHARACTER * longest)
    figure = PngFigure(figsize=(1.2 + width * max(len(groups), 3), _HEIGHT), dpi=150, layout="constrained")
    axes = figure.subplots()
    labels = []
    for place, (network, method, values, diverged, best) in enumerate(groups):
        if len(set(values)) >= _LEAST:
            violin: Any = axes.violinplot([values], [place], widths=0.8, showextrema=False)
            for body in violin["bodies"]:
                body.set(facecolor=_COLOR, alpha=0.25)
        # Evenly spread, so that the same trials give the same picture.
        offsets = 0.12 * (2 * (np.arange(len(values)) * (np.sqrt(5) - 1) / 2 % 1) - 1)
        axes.scatter(place + offsets, values, s=12, color=_COLOR, linewidth=0, zorder=2)
        star = place + offsets[np.argmin(np.abs(np.subtract(values, best)))] if len(values) else place
        axes.scatter([star], [best], s=110, marker="*", color=_BEST, edgecolor="white", linewidth=0.6, zorder=3)
        count = f"{len(values) + diverged} trials" + (f",\n{diverged} diverged" if diverged else "")
        labels.append("\n".join([*([network] if networks else []), method, count]))
    axes.set_xticks(range(len(groups)), labels, parse_math=False, fontsize=8, color=_INK)
    axes.set_xlim(-0.6, max(len(groups), 3) - 0.4)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=7, color="#666666", loc="left", parse_math=False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
