"""Metrics from sums over images: batches and processes add them up, and no image is kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.metrics.base import LocalizationStats, Metric, TauRule
from wsol.metrics.tau import find_tau_index, round_tau

UNIT = 2.0**-40
"""Fractions are summed as multiples of it. Every float32 from 2^-17 up is one, so that the sums of IoUs are exact."""
MAX_IMAGES = 1 << 22  # their sums of fractions stay far below 2^63

_IMAGES, _RANKED, _MASKED, _GUESSED, _OBJECTS, _HEAD = range(6)  # the first entries of the sums: numbers of images
_ALL_MAPS = "maps of all classes"  # from which the boxes of all predictions are known, for messages


@dataclass(frozen=True)
class MetricValue:
    """A metric under a threshold rule.

    Attributes:
        metric: The metric.
        rule: The threshold rule; None for a metric without a threshold.
        tau: The threshold; NaN if there is none or more than one.
        value: In [0, 1].
    """

    metric: Metric
    rule: TauRule | None
    tau: float
    value: float

    @property
    def name(self) -> str:
        """Name of the metric, followed by ``.oracle`` if it also has a value at the fixed tau."""
        return (
            f"{self.metric.name}.oracle" if self.rule == "oracle" and "fixed" in self.metric.rules else self.metric.name
        )


@dataclass(frozen=True)
class _Term:
    """Sum over images of what a function returns for each.

    Attributes:
        per_image: The function, ``Metric.per_image`` of one or more metrics.
        on_grid: Whether it gets the statistics at the taus of the grid alone.
        counts_empty: Whether it counts images that show no object.
        needs: Attributes of the statistics that it needs.
        shape: Shape of its result for one image.
        is_fraction: Whether it returns fractions, which are summed in ``UNIT``.
        start: Index of its first entry in the sums.
    """

    per_image: Callable[[LocalizationStats], NDArray[Any]]
    on_grid: bool
    counts_empty: bool
    needs: frozenset[str]
    shape: tuple[int, ...]
    is_fraction: bool
    start: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def applies(self, stats: LocalizationStats) -> bool:
        return stats.present.issuperset(self.needs)

    def rows(self, stats: LocalizationStats) -> NDArray[np.generic]:
        """Return the integers that are summed, one row per image that counts, ``(n, size)``."""
        counted = stats if self.counts_empty else stats.with_objects
        values = self.per_image(counted.on_grid if self.on_grid else counted).reshape(len(counted), self.size)
        return np.rint(values.astype(np.float64) / UNIT).astype(np.int64) if self.is_fraction else values

    def means(self, sums: NDArray[np.int64], count: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """Divide sums ``(..., size)`` by numbers of images."""
        means: NDArray[np.float64] = sums.astype(np.float64) * (UNIT if self.is_fraction else 1) / count
        return means.reshape((*sums.shape[:-1], *self.shape))


class StreamingMetrics:
    """Metrics as functions of integer sums, which do not depend on the order of images, batches and processes.

    Rates equal those of ``wsol.metrics.summary`` in every bit; means of fractions differ from them by less than 1e-12.

    Args:
        metrics: The metrics; those that the statistics do not suffice for are left out.
        example: Statistics of one image, with every array that images can have.
        taus: float64 ``(taus,)``, the grid of the curves; empty if the protocol has no threshold.
        fixed: The tau of the rule ``fixed``.
        classes: Number of classes; None leaves out the metrics by class.

    Attributes:
        size: Length of the sums.
        class_size: Columns of the sums by class: the number of images, then those of the metrics.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        example: LocalizationStats,
        taus: NDArray[np.float64],
        fixed: float | None,
        classes: int | None,
    ) -> None:
        self.metrics = [each for each in metrics if each.applies(example) and (classes or not each.by_class)]
        self._taus, self._fixed, self._off_grid = taus, fixed, example.off_grid
        self._terms = _list_terms([each for each in self.metrics if not each.by_class], example, _HEAD)
        self._class_terms = _list_terms([each for each in self.metrics if each.by_class], example, 1)
        self.size = _HEAD + sum(term.size for term in self._terms.values())
        self.class_size = 1 + sum(term.size for term in self._class_terms.values())

    def sums(self, stats: LocalizationStats) -> NDArray[np.int64]:
        """Return the sums over some images, int64 ``(size,)``."""
        out = np.zeros(self.size, np.int64)
        n = len(stats)
        out[:_HEAD] = (
            n,
            *(n * (each is not None) for each in (stats.ranks, stats.pixels, stats.guesses)),
            len(stats.with_objects),
        )
        for term in self._terms.values():
            if term.applies(stats):
                out[term.start : term.start + term.size] = term.rows(stats).sum(0, dtype=np.int64)
        return out

    def class_rows(self, stats: LocalizationStats) -> NDArray[np.int64]:
        """Return what each image adds to the sums of its class, int64 ``(n, class_size)``; zeros without an object."""
        out = np.zeros((len(stats), self.class_size), np.int64)
        shown = np.ones(len(stats), bool) if stats.objects is None else stats.objects
        out[shown, 0] = 1
        for term in self._class_terms.values():
            if term.applies(stats):
                out[shown, term.start : term.start + term.size] = term.rows(stats)
        return out

    def check_parts(self, head: NDArray[np.int64], logits: bool, masks: bool, guesses: bool) -> None:
        """Check that the next images have what those so far had.

        Args:
            head: The first entries of the sums, at least four.
            logits: Whether the next images have logits.
            masks: Whether they have masks.
            guesses: Whether they have the boxes of all predictions, see ``LocalizationStats.guesses``.

        Raises:
            InputError: They do not.
        """
        parts = (("logits", _RANKED, logits), ("masks", _MASKED, masks), (_ALL_MAPS, _GUESSED, guesses))
        for name, entry, given in parts:
            if head[_IMAGES] and bool(head[entry]) != given:
                before = "had" if head[entry] else "had no"
                raise InputError(
                    f"the images counted so far {before} {name}, these {'have' if given else 'have none'}; "
                    f"give {name} for all images or for none"
                )

    def values(self, sums: NDArray[np.int64], class_sums: NDArray[np.int64] | None = None) -> Iterator[MetricValue]:
        """Yield every metric under the rules ``fixed`` and ``oracle``.

        Args:
            sums: The sums over all images, ``(size,)``.
            class_sums: The sums by class, ``(classes, class_size)``; None if there is no number of classes.

        Raises:
            InputError: There is no image, some images have logits or masks and others have not, or there are more than
                ``MAX_IMAGES``.
        """
        n = int(sums[_IMAGES])
        if not n:
            raise InputError("there is no image to compute metrics of; call update first")
        if n > MAX_IMAGES:
            raise InputError(f"{n} images are more than the {MAX_IMAGES} whose sums are exact; evaluate them in parts")
        for name, entry in (("logits", _RANKED), ("masks", _MASKED), (_ALL_MAPS, _GUESSED)):
            if sums[entry] not in (0, n):
                raise InputError(f"{sums[entry]} of {n} images have {name}; give them for all images or for none")
        counted = (("ranks", _RANKED), ("pixels", _MASKED), ("guesses", _GUESSED))
        missing = {name for name, entry in counted if not sums[entry]}
        for metric in self.metrics:
            is_defined = sums[_OBJECTS] or (metric.counts_empty and not metric.aggregate)  # PxAP needs foreground
            if missing.isdisjoint(metric.needs) and is_defined:
                yield from self._values_of(metric, self._means(metric, sums, class_sums))

    def _means(
        self, metric: Metric, sums: NDArray[np.int64], class_sums: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Return the means over images, or over classes of the means over their images."""
        if not metric.by_class:
            term = self._terms[_key(metric)]
            count = int(sums[_IMAGES if metric.counts_empty else _OBJECTS])
            return term.means(sums[term.start : term.start + term.size], count)
        assert class_sums is not None
        term, present = self._class_terms[_key(metric)], class_sums[class_sums[:, 0] > 0]
        means = term.means(present[:, term.start : term.start + term.size], present[:, :1])
        over_classes: NDArray[np.float64] = means.mean(0)
        return over_classes

    def _values_of(self, metric: Metric, means: NDArray[np.float64]) -> Iterator[MetricValue]:
        taus, on_grid = self._taus, means
        if self._off_grid is not None and len(taus) and metric.rules:
            taus, on_grid = np.delete(taus, self._off_grid), np.delete(means, self._off_grid, axis=0)
        if not metric.rules:
            yield MetricValue(metric, None, np.nan, float(metric.aggregate(means) if metric.aggregate else means))
        elif not len(taus):
            if "fixed" in metric.rules:
                yield MetricValue(metric, None, np.nan, float(means[0]))
        elif means.ndim == 2:
            best = on_grid.argmax(0) if metric.better == "higher" else on_grid.argmin(0)
            tau = round_tau(taus, int(best[0])) if len(best) == 1 else np.nan
            yield MetricValue(metric, "oracle", tau, float(on_grid[best, np.arange(len(best))].mean()))
        else:
            if "fixed" in metric.rules and self._fixed is not None:
                i = find_tau_index(self._fixed, self._taus)
                yield MetricValue(metric, "fixed", round_tau(self._taus, i), float(means[i]))
            if "oracle" in metric.rules:
                i = int(on_grid.argmax() if metric.better == "higher" else on_grid.argmin())
                yield MetricValue(metric, "oracle", round_tau(taus, i), float(on_grid[i]))


def image_counts(sums: NDArray[np.int64]) -> dict[str, int]:
    """Return the numbers of images: ``n``, and ``n.objects`` if some show no object."""
    n, shown = int(sums[_IMAGES]), int(sums[_OBJECTS])
    return {"n": n} if shown == n else {"n": n, "n.objects": shown}


_Key = tuple[Callable[[LocalizationStats], NDArray[Any]], bool, bool]


def _key(metric: Metric) -> _Key:
    """Return the function of a metric, whether it gets the grid alone, and all images: equal keys have one sum."""
    return metric.per_image, not metric.rules, metric.counts_empty


def _list_terms(metrics: Sequence[Metric], example: LocalizationStats, start: int) -> dict[_Key, _Term]:
    terms: dict[_Key, _Term] = {}
    for metric in metrics:
        key = _key(metric)
        if key in terms:
            continue
        result = metric.per_image(example.on_grid if not metric.rules else example)
        is_fraction = bool(np.issubdtype(result.dtype, np.floating))
        terms[key] = _Term(*key, frozenset(metric.needs), result.shape[1:], is_fraction, start)
        start += terms[key].size
    return terms
