"""The interface of a metric, and the per-image statistics that every metric is computed from."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.hits import Strict, are_hits
from wsol.registry import Registry

TauRule = Literal["fixed", "val", "oracle"]
TAU_RULES: tuple[TauRule, ...] = ("fixed", "val", "oracle")
CURVES = ("curves", "contours", "second", "first")
"""The attributes of ``LocalizationStats`` that are IoU curves."""


@dataclass(frozen=True)
class LocalizationStats:
    """The sufficient statistics of a run: every metric is computed from them.

    Attributes:
        curves: float32 ``(n, taus)``, the IoU that the ground-truth class's own map reaches at each threshold; one
            column where the protocol has no threshold.
        delta: IoU from which on a box is a hit, inclusive.
        labels: int64 ``(n,)``, the ground-truth class.
        ranks: int64 ``(n,)``, rank of the ground-truth class among the predictions, from 1; 0 where it is not among
            the top five. None where there are no predictions.
        peaks: bool ``(n,)``, whether the map's highest pixel is in a ground-truth box; None where there is no map.
        contours: float32 ``(n, taus)``, the IoU that the best box of any contour reaches; None where the protocol
            takes one box per threshold.
        second: float32 ``(n, taus)``, the IoU of a second box; None where there is none.
        pixels: uint32 ``(n, taus + 1, 2)``, foreground and background pixels by score, see ``ImageStats``; None where
            there are no masks.
        complete: Whether every image has a box of its ground-truth class. The curve of an image without one is zero,
            and only metrics that also require the predicted class can be computed.
        top5: Whether every image has five predictions, or all classes if there are fewer; otherwise top-5 metrics
            cannot be computed.
        class_only_ranks: int64 ``(m,)``, ranks of further images, which only classification counts; None without any.
        off_grid: Index of the one tau that is not on the protocol's grid: only the rule ``fixed`` uses it.
        objects: bool ``(n,)``, whether an image shows an object; None if every image does. The curves of the others are
            zeros, and only metrics that count them, see ``Metric.counts_empty``, use them.
        attribution: float32 ``(n, 6)``, see ``wsol.metrics.attribution.COLUMNS``; None where it was not asked for.
        first: float32 ``(n, taus)``, the IoU that the first prediction's own map reaches; for ``one_box``, and None
            where that map is not known.
        one_box: Whether the box of the first prediction is that of all predictions; otherwise each class has that of
            its own map.
        strict: Which boxes are hits only if their IoU is above delta.
    """

    curves: NDArray[np.float32]
    delta: float
    labels: NDArray[np.int64]
    ranks: NDArray[np.int64] | None = None
    peaks: NDArray[np.bool_] | None = None
    contours: NDArray[np.float32] | None = None
    second: NDArray[np.float32] | None = None
    pixels: NDArray[np.uint32] | None = None
    complete: bool = True
    top5: bool = True
    class_only_ranks: NDArray[np.int64] | None = None
    off_grid: int | None = None
    objects: NDArray[np.bool_] | None = None
    attribution: NDArray[np.float32] | None = None
    first: NDArray[np.float32] | None = None
    one_box: bool = False
    strict: Strict = "none"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Hits, bool ``(n, taus)``: the IoU of the ground-truth class's own box reaches delta."""
        return are_hits(self.curves, self.delta, self.strict == "all")

    @property
    def guesses(self) -> NDArray[np.float32] | None:
        """The IoU that a prediction of the ground-truth class reaches, at any rank; None where it is not known."""
        return self.first if self.one_box else self.curves

    def prediction_hits(self, rank: int) -> NDArray[np.bool_]:
        """Hits of the prediction of the ground-truth class, bool ``(n, taus)``, at ranks up to ``rank``."""
        # The first prediction has its own map's box under every protocol.
        curves = self.curves if rank == 1 else self.guesses
        assert curves is not None
        return are_hits(curves, self.delta, self.strict != "none")

    @cached_property
    def on_grid(self) -> "LocalizationStats":
        """The statistics at the taus of the grid; pixels of another tau are counted at the tau below it."""
        if self.off_grid is None or self.curves.shape[1] == 1:
            return self
        values = {name: getattr(self, name) for name in (*CURVES, "pixels")}
        kept: dict[str, Any] = {
            name: np.delete(array, self.off_grid, axis=1) for name, array in values.items() if array is not None
        }
        if self.pixels is not None:
            kept["pixels"][:, self.off_grid - 1] += self.pixels[:, self.off_grid]
        return replace(self, **kept, off_grid=None)

    @cached_property
    def with_objects(self) -> "LocalizationStats":
        """The statistics of the images that show an object."""
        if self.objects is None:
            return self
        names = {each.name for each in fields(self)} - {"class_only_ranks"}
        arrays = {name: array for name in names if isinstance(array := getattr(self, name), np.ndarray)}
        kept: dict[str, Any] = {name: array[self.objects] for name, array in arrays.items()}
        return replace(self, **kept | {"objects": None})

    def counted_by(self, metric: "Metric") -> "LocalizationStats":
        """Return the statistics of the images that a metric counts."""
        return self if metric.counts_empty else self.with_objects

    @cached_property
    def distinct(self) -> tuple["LocalizationStats", NDArray[np.int64]]:
        """The statistics, without pixels, at the first of each run of taus that give the same curves for all images.

        And the indices of these taus.
        """
        curves = {name: curve for name in CURVES if (curve := getattr(self, name)) is not None}
        different = {id(curve): curve for curve in curves.values() if curve.strides[1] or curve.shape[1] == 1}
        changes = [(curve[:, 1:] != curve[:, :-1]).any(0) for curve in different.values()]
        starts = np.flatnonzero(np.append(True, np.any(changes, axis=0) if changes else []))
        kept: dict[str, Any] = {name: curve.take(starts, axis=1) for name, curve in curves.items()}
        return replace(self, pixels=None, **kept), starts

    @property
    def present(self) -> set[str]:
        """Names of the attributes that metrics can be computed from."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"guesses": self.guesses}
        return {name for name, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True)
class Metric:
    """A mean over images, in percent.

    ``METRICS.register(NAME, title=..., ...)`` decorates the function ``per_image`` and takes the other attributes.

    Attributes:
        name: Registered name.
        per_image: Computes the value of each image in [0, 1] from the statistics: ``(n,)``, or ``(n, taus)`` if the
            metric depends on a threshold, or ``(n, taus, parts)`` if each part has its own threshold and the metric is
            their mean. Values of bool make it a plain proportion, whose interval is Wilson's. A classification metric
            returns further values, of the images that only classification counts.
        title: Title of its row in tables; the name if it is empty.
        better: Whether ``higher`` or ``lower`` values are better.
        rules: The threshold rules it is defined for; empty if it does not depend on a threshold.
        needs: Attributes of the statistics that it is computed from.
        aggregate: For a metric that is not a mean over images but a function of means: maps ``(..., k)`` to ``(...)``
            in [0, 1]. ``per_image`` then returns ``(n, k)``.
        by_class: Whether it is the mean over classes of their means over images.
        row: Position of its row in tables, ascending; rows of equal position are sorted by name.
        part_of: Name of the metric below which it is an indented row; empty for a row of its own.
        headline: Position among the numbers that a page and a leaderboard show first, from 1; 0 if it is not shown.
        short_title: Title of its column in a leaderboard; the title if it is empty.
        counts_empty: Whether it also counts images that show no object; metrics of boxes do not.
    """

    name: str
    per_image: Callable[[LocalizationStats], NDArray[Any]]
    title: str = ""
    better: Literal["higher", "lower"] = "higher"
    rules: tuple[TauRule, ...] = TAU_RULES
    needs: tuple[str, ...] = ("complete",)
    aggregate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    by_class: bool = False
    row: int = 1000
    part_of: str = ""
    headline: int = 0
    short_title: str = ""
    counts_empty: bool = False

    def applies(self, stats: LocalizationStats) -> bool:
        """Return whether the metric can be computed from the statistics."""
        return stats.present.issuperset(self.needs)


METRICS: Registry[Metric] = Registry("metric", "wsol.metrics", create=Metric)


def split_by_images(
    metrics: Iterable[Metric], *stats: LocalizationStats | None
) -> Iterator[tuple[list[Metric], tuple[LocalizationStats | None, ...]]]:
    """Yield metrics that count the same images, with the statistics of these images.

    Args:
        metrics: The metrics.
        stats: Statistics of one or more splits.
    """
    chosen = [*metrics]
    if all(each is None or each.objects is None for each in stats):
        yield chosen, stats
        return
    yield [each for each in chosen if not each.counts_empty], tuple(each and each.with_objects for each in stats)
    yield [each for each in chosen if each.counts_empty], tuple(each and replace(each, objects=None) for each in stats)


def headlines() -> list[Metric]:
    """Return the metrics that a page and a leaderboard show first."""
    metrics = [metric for metric in map(METRICS.get, METRICS.names()) if metric.headline]
    return sorted(metrics, key=lambda metric: metric.headline)


def sort_rows(names: Iterable[str]) -> list[str]:
    """Sort metrics by the rows of a table; names that are not registered come last, in their order."""
    registered = METRICS.names()

    def position(name: str) -> tuple[Any, ...]:
        if name not in registered:
            return (math.inf,)
        metric = METRICS.get(name)
        parent = METRICS.get(metric.part_of) if metric.part_of in registered else metric
        return parent.row, parent.name, parent is not metric, metric.row, name

    return sorted(dict.fromkeys(names), key=position)


def row_title(name: str) -> str:
    """Return the title of a metric's row, indented by two spaces if it is part of another metric's."""
    if name not in METRICS.names():
        return name
    metric = METRICS.get(name)
    return "  " * bool(metric.part_of) + (metric.title or name)
