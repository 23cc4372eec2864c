"""What metrics are computed from, and what a metric is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsol.registry import Registry

TauRule = Literal["fixed", "val", "oracle"]
TAU_RULES: tuple[TauRule, ...] = ("fixed", "val", "oracle")


@dataclass(frozen=True)
class Evidence:
    """The sufficient statistic of a run: every metric is computed from it.

    Attributes:
        curves: float32 ``(n, levels)``, the IoU that the ground-truth class's own map reaches at each threshold.
        ranks: int64 ``(n,)``, place of the ground-truth class among the predictions, from 1; 0 where it is not among
            the top five.
        delta: IoU from which on a box is a hit.
        contours: float32 ``(n, levels)``, the IoU that the best of all contours' boxes reaches; None where the protocol
            looks at one box a threshold.
    """

    curves: NDArray[np.float32]
    ranks: NDArray[np.int64]
    delta: float
    contours: NDArray[np.float32] | None = None

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether a box hits, bool ``(n, levels)``."""
        return self.curves >= np.float32(self.delta)


@dataclass(frozen=True)
class Metric:
    """A mean over images, in percent.

    Attributes:
        name: Registered name.
        per_image: Evidence to each image's value in [0, 1]: ``(n,)``, or ``(n, levels)`` where a threshold enters, or
            ``(n, levels, parts)`` where each part takes a threshold of its own and the metric is their mean.
        better: Whether ``higher`` or ``lower`` values are better.
        rules: The threshold rules it is defined for; empty where no threshold enters.
        contours: Whether it needs the evidence of all contours.
    """

    name: str
    per_image: Callable[[Evidence], NDArray[Any]]
    better: Literal["higher", "lower"] = "higher"
    rules: tuple[TauRule, ...] = TAU_RULES
    contours: bool = False


METRICS: Registry[Metric] = Registry("metric", "wsol.metrics")


def register(metric: Metric) -> None:
    """Enters a metric under its name."""
    METRICS.register(metric.name)(metric)
