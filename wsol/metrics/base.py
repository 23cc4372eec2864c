"""What metrics are computed from, and what a metric is."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsol.registry import Registry

TauRule = Literal["fixed", "val", "oracle"]
TAU_RULES: tuple[TauRule, ...] = ("fixed", "val", "oracle")


@dataclass(frozen=True)
class LocalizationStats:
    """The sufficient statistic of a run: every metric is computed from it.

    Attributes:
        curves: float32 ``(n, levels)``, the IoU that the ground-truth class's own map reaches at each threshold. One
            level where no threshold enters.
        delta: IoU from which on a box is a hit.
        labels: int64 ``(n,)``, the ground-truth class.
        ranks: int64 ``(n,)``, place of the ground-truth class among the predictions, from 1; 0 where it is not among
            the top five. None where there are no predictions.
        peaks: bool ``(n,)``, whether the map's highest pixel lies in a ground-truth box; None where there is no map.
        contours: float32 ``(n, levels)``, the IoU that the best of all contours' boxes reaches; None where the protocol
            looks at one box a threshold.
        second: float32 ``(n, levels)``, the IoU of a second box; None where there is none.
        pixels: uint32 ``(n, levels + 1, 2)``, foreground and background pixels by score, see ``Trace``; None where
            there are no masks.
        complete: Whether every image has a box of its ground-truth class. Where one has none, its curve is zero, and
            only metrics that ask for the class too can be computed.
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

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether a box hits, bool ``(n, levels)``."""
        return self.curves >= np.float32(self.delta)

    @property
    def present(self) -> set[str]:
        """Names of what there is to compute metrics from."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name for name, part in parts.items() if part is not None and part is not False}


@dataclass(frozen=True)
class Metric:
    """A mean over images, in percent.

    Attributes:
        name: Registered name.
        per_image: Evidence to each image's value in [0, 1]: ``(n,)``, or ``(n, levels)`` where a threshold enters, or
            ``(n, levels, parts)`` where each part takes a threshold of its own and the metric is their mean.
        better: Whether ``higher`` or ``lower`` values are better.
        rules: The threshold rules it is defined for; empty where no threshold enters.
        needs: What of the evidence it is computed from.
        total: Where the metric is no mean over images but a function of means: ``(..., k)`` to ``(...)``, in [0, 1].
            ``per_image`` gives ``(n, k)`` then.
        by_class: Whether it is the mean over classes of their means over images.
    """

    name: str
    per_image: Callable[[LocalizationStats], NDArray[Any]]
    better: Literal["higher", "lower"] = "higher"
    rules: tuple[TauRule, ...] = TAU_RULES
    needs: tuple[str, ...] = ("complete",)
    aggregate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    by_class: bool = False

    def applies(self, evidence: LocalizationStats) -> bool:
        """Return whether it can be computed."""
        return evidence.present.issuperset(self.needs)


METRICS: Registry[Metric] = Registry("metric", "wsol.metrics")


def register(metric: Metric) -> None:
    """Enter a metric under its name."""
    METRICS.register(metric.name)(metric)
