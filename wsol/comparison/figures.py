"""Curves and histograms of several runs, a line a run."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from wsol.reports.canvas import Canvas, Picture

# Okabe & Ito, "Color Universal Design", 2008, without the yellow, which white paper swallows. Four dashes to seven
# colours are 28 looks, and where lines coincide, the lower one shows in the gaps.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_BINS = 20
_TAIL = 24  # characters of a long name that stay at its end: what tells runs apart may stand at either
_GREY, _INK = "#666666", "#202020"
_WIDTH, _PLOT, _LINE = 7.5, 3.6, 0.2  # inches: of the figure, of the plot's height, of a line of text
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 0.2, 0.4, 0.55  # inches around the plot


@matplotlib.style.context("default")
def accuracy_figure(curves: pd.DataFrame, taus: Sequence[float], delta: float, title: str) -> Picture:
    """Draw GT-known accuracy over tau, a line a run, with a dot at the run's own tau.

    Args:
        curves: tau, and a column for each run, in percent.
        taus: Of the runs, in the order of the columns.
        delta: IoU from which on a box is a hit.
        title: What the runs have in common.
    """
    sheet = _Sheet(title, [*curves.columns[1:]], "tau", f"GT-known accuracy at IoU {delta:g} (%)")
    grid = curves["tau"].to_numpy()
    for (name, style), tau in zip(sheet.styles, taus, strict=True):
        values = curves[name].to_numpy()
        own = float(values[np.abs(grid - tau).argmin()])
        sheet.axes.plot(grid, values, linewidth=1.4, **style)
        dot: dict[str, Any] = {
            "marker": "o",
            "markersize": 7,
            "markeredgecolor": "white",
            "clip_on": False,
            "zorder": 3,
        }
        sheet.axes.plot(tau, own, color=style["color"], **dot)
        sheet.key(style, f"{own:.1f} % at tau {tau:.3f}", name)
    return sheet.done()


@matplotlib.style.context("default")
def iou_figure(ious: pd.DataFrame, delta: float, title: str) -> Picture:
    """Draw the histogram of IoU, an outline a run, with a line where a box becomes a hit.

    Args:
        ious: A column for each run: the IoU in each image; NaN where there is no box, which no bin counts.
        delta: IoU from which on a box is a hit.
        title: What the runs have in common.
    """
    sheet = _Sheet(title, [*ious.columns], "IoU at the run's tau", f"images (%) in bins of {1 / _BINS:g}")
    edges = np.arange(_BINS + 1) / _BINS
    for name, style in sheet.styles:
        values = ious[name].to_numpy()
        share = 100 * np.histogram(values[~np.isnan(values)], edges)[0] / len(values)
        sheet.axes.stairs(share, edges, baseline=None, linewidth=1.4, **style)
        sheet.key(style, f"{100 * (values >= delta).mean():.1f} % hits", name)
    sheet.axes.axvline(delta, color=_GREY, linewidth=1, zorder=0)
    sheet.axes.text(delta + 0.007, 0.99, "hits", color=_GREY, va="top", transform=sheet.axes.get_xaxis_transform())
    return sheet.done()


class _Sheet:
    """A plot with a title above and a key of the runs below, however many and however long their names.

    Args:
        title: A line in small print.
        names: Of the runs.
        x: Label of the abscissa, from 0 to 1.
        y: Label of the ordinate, from 0 on.
    """

    def __init__(self, title: str, names: Sequence[str], x: str, y: str) -> None:
        self._names = names
        below = _TOP + _PLOT + _BOTTOM
        height = below + _LINE * len(names) + 0.1
        self._canvas = Canvas(_WIDTH, height, [title, *names])
        self._next = below + _LINE / 2
        self._canvas.text(title, _LEFT, _TOP / 2, _WIDTH - _LEFT - _RIGHT, 7, _GREY, va="center")
        place = (_LEFT, height - _TOP - _PLOT, _WIDTH - _LEFT - _RIGHT, _PLOT)
        scale = np.array([_WIDTH, height, _WIDTH, height])
        self.axes: Axes = self._canvas.figure.add_axes(tuple(np.array(place) / scale), xlim=(0, 1), xlabel=x, ylabel=y)
        self.axes.grid(color="#e4e4e4", linewidth=0.6)
        self.axes.set_axisbelow(True)
        self.axes.spines[["top", "right"]].set_visible(False)

    @property
    def styles(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields each run's name with its colour and dashes."""
        for i, name in enumerate(self._names):
            dash = i % len(_DASHES)
            yield name, {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _DASHES[dash], "zorder": 2 + dash / 10}

    def key(self, style: dict[str, Any], value: str, name: str) -> None:
        """Write the next line of the key."""
        figure, y = self._canvas.figure, self._next
        inches, height = figure.dpi_scale_trans, figure.get_figheight()
        figure.add_artist(Line2D([_LEFT, _LEFT + 0.4], [height - y] * 2, linewidth=1.8, transform=inches, **style))
        self._canvas.text(value, _LEFT + 0.5, y, 1.4, 8.5, _INK, va="center_baseline")
        left = _LEFT + 1.9
        self._canvas.text(name, left, y, _WIDTH - left - _RIGHT, 8.5, _INK, tail=_TAIL, va="center_baseline")
        self._next += _LINE

    def done(self) -> Picture:
        """Return the figure."""
        self.axes.set_ylim(bottom=0)
        return self._canvas.figure
