"""Curves and histograms of several runs, one line per run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from wsol.metrics.hits import are_hits
from wsol.reports.canvas import Canvas, PngFigure

# Okabe & Ito, "Color Universal Design", 2008, without the yellow, which is invisible on white. Seven colors and four
# dash patterns give 28 styles, and where lines coincide, the lower one is visible in the gaps.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_BINS = 20
_TAIL = 24  # characters kept at the end of a long name, which may differ from others only there
_GRAY, _INK = "#666666", "#202020"
_WIDTH, _PLOT, _LINE = 7.5, 3.6, 0.2  # inches: width of the figure, heights of the plot and of a line of text
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 0.2, 0.4, 0.55  # inches around the plot


@matplotlib.style.context("default")
def accuracy_figure(
    curves: pd.DataFrame,
    taus: Sequence[float],
    delta: float | None,
    title: str,
    spreads: pd.DataFrame | None = None,
) -> PngFigure:
    """Draw GT-known accuracy over tau, one line per run, with a dot at the run's own tau.

    Args:
        curves: tau, and one column per run, in percent; NaN at taus that a run does not have.
        taus: Thresholds of the runs, in the order of the columns.
        delta: Minimum IoU of a hit; None if it is not the same for all runs.
        title: Signature that the runs have in common.
        spreads: For groups of seeds, the standard deviation of each curve in points, drawn as a band around it.
    """
    at_iou = "" if delta is None else f" at IoU {delta:g}"
    plot = _RunPlot(title, [*curves.columns[1:]], "tau", f"GT-known accuracy{at_iou} (%)")
    for (name, style), tau in zip(plot.styles, taus, strict=True):
        grid, values = curves[["tau", name]].dropna().to_numpy().T
        accuracy = float(values[np.abs(grid - tau).argmin()])
        plot.axes.plot(grid, values, linewidth=1.4, **style)
        if spreads is not None and name in spreads:
            half = spreads.loc[curves[name].notna(), name].to_numpy()
            plot.axes.fill_between(grid, values - half, values + half, color=style["color"], alpha=0.15, linewidth=0)
        dot: dict[str, Any] = {
            "marker": "o",
            "markersize": 7,
            "markeredgecolor": "white",
            "clip_on": False,
            "zorder": 3,
        }
        plot.axes.plot(tau, accuracy, color=style["color"], **dot)
        plot.add_legend_line(style, f"{accuracy:.1f} % at tau {tau:.3f}", name)
    return plot.finish()


@matplotlib.style.context("default")
def iou_figure(
    ious: Mapping[str, NDArray[np.float64]], deltas: Sequence[float], title: str, strict: Sequence[bool] | None = None
) -> PngFigure:
    """Draw the histogram of IoU, one outline per run, with a line at each delta.

    Args:
        ious: For each run the IoU in each image, of a group in each image of each of its runs; NaN if there is no box,
            which is in no bin.
        deltas: Minimum IoU of a hit in each run.
        title: Signature that the runs have in common.
        strict: Whether the IoU of a hit must be above delta, in each run; by default in none.
    """
    plot = _RunPlot(title, [*ious], "IoU at the run's tau", f"images (%) in bins of {1 / _BINS:g}")
    edges = np.arange(_BINS + 1) / _BINS
    rules = zip(plot.styles, deltas, strict or [False] * len(deltas), strict=True)
    for (name, style), delta, is_strict in rules:
        values = ious[name]
        share = 100 * np.histogram(values[~np.isnan(values)], edges)[0] / len(values)
        plot.axes.stairs(share, edges, baseline=None, linewidth=1.4, **style)
        plot.add_legend_line(style, f"{100 * are_hits(values, delta, is_strict).mean():.1f} % hits", name)
    for delta in dict.fromkeys(deltas):
        plot.axes.axvline(delta, color=_GRAY, linewidth=1, zorder=0)
        plot.axes.text(delta + 0.007, 0.99, "hits", color=_GRAY, va="top", transform=plot.axes.get_xaxis_transform())
    return plot.finish()


class _RunPlot:
    """A plot with a title above and a legend of the runs below, for any number of runs and any length of names.

    Args:
        title: One line in small print.
        names: Names of the runs.
        x: Label of the x axis, from 0 to 1.
        y: Label of the y axis, from 0.
    """

    def __init__(self, title: str, names: Sequence[str], x: str, y: str) -> None:
        self._names = names
        below = _TOP + _PLOT + _BOTTOM
        height = below + _LINE * len(names) + 0.1
        self._canvas = Canvas(_WIDTH, height, [title, *names])
        self._next = below + _LINE / 2
        self._canvas.draw_text(title, _LEFT, _TOP / 2, _WIDTH - _LEFT - _RIGHT, 7, _GRAY, va="center")
        place = (_LEFT, height - _TOP - _PLOT, _WIDTH - _LEFT - _RIGHT, _PLOT)
        scale = np.array([_WIDTH, height, _WIDTH, height])
        self.axes: Axes = self._canvas.figure.add_axes(tuple(np.array(place) / scale), xlim=(0, 1), xlabel=x, ylabel=y)
        self.axes.grid(color="#e4e4e4", linewidth=0.6)
        self.axes.set_axisbelow(True)
        self.axes.spines[["top", "right"]].set_visible(False)

    @property
    def styles(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name of each run with its color and dash pattern."""
        for i, name in enumerate(self._names):
            dash = i % len(_DASHES)
            yield name, {"color": _COLORS[i % len(_COLORS)], "linestyle": _DASHES[dash], "zorder": 2 + dash / 10}

    def add_legend_line(self, style: dict[str, Any], value: str, name: str) -> None:
        """Write the next line of the legend."""
        figure, y = self._canvas.figure, self._next
        inches, height = figure.dpi_scale_trans, figure.get_figheight()
        figure.add_artist(Line2D([_LEFT, _LEFT + 0.4], [height - y] * 2, linewidth=1.8, transform=inches, **style))
        self._canvas.draw_text(value, _LEFT + 0.5, y, 1.4, 8.5, _INK, va="center_baseline")
        left = _LEFT + 1.9
        self._canvas.draw_text(name, left, y, _WIDTH - left - _RIGHT, 8.5, _INK, tail=_TAIL, va="center_baseline")
        self._next += _LINE

    def finish(self) -> PngFigure:
        """Return the finished figure."""
        self.axes.set_ylim(bottom=0)
        return self._canvas.figure
