"""Classification: is the ground-truth class among the first predictions?"""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import METRICS, LocalizationStats


def classification_error(stats: LocalizationStats, k: int) -> NDArray[np.bool_]:
    """Return whether the ground-truth class is not among the first ``k`` predictions.

    Returns:
        bool ``(n + m,)``: the ``n`` images, then the ``m`` that only classification counts.
    """
    assert stats.ranks is not None
    ranks = stats.ranks if stats.class_only_ranks is None else np.append(stats.ranks, stats.class_only_ranks)
    return (ranks < 1) | (ranks > k)


@METRICS.register(
    "top1_cls_err",
    title="top-1 classification error",
    short_title="top-1 cls. error",
    better="lower",
    rules=(),
    needs=("ranks",),
    row=30,
    headline=6,
    counts_empty=True,
)
def top1_classification_error(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether the ground-truth class is not the first prediction, bool ``(n + m,)``."""
    return classification_error(stats, 1)


@METRICS.register(
    "top5_cls_err",
    title="top-5 classification error",
    better="lower",
    rules=(),
    needs=("ranks", "top5"),
    row=40,
    counts_empty=True,
)
def top5_classification_error(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether the ground-truth class is not among the first five predictions, bool ``(n + m,)``."""
    return classification_error(stats, 5)


def ranks_of(classes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the rank of the ground-truth class among the predictions, as in ``LocalizationStats.ranks``.

    Args:
        classes: int64 ``(n, k)``, the ground-truth class, then the predictions, if there are any.
    """
    if classes.shape[1] < 2:
        return None
    matches = classes[:, 1:6] == classes[:, :1]
    return np.where(matches.any(1), matches.argmax(1) + 1, 0)


def has_top5(classes: NDArray[np.int64], class_count: int) -> bool:
    """Return whether every image has five predictions, or all classes if there are fewer.

    Args:
        classes: int64 ``(n, k)``, the ground-truth class, then the predictions; -1 where there is no further one.
        class_count: Number of classes that have a name; there are more if an index says so.
    """
    needed = min(5, max(class_count, int(classes.max()) + 1))
    predictions = classes[:, 1 : 1 + needed]
    return predictions.shape[1] == needed and bool((predictions >= 0).all())
