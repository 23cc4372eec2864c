"""Classification: is the class among the first guesses?"""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import LocalizationStats, Metric, register


def classification_error(evidence: LocalizationStats, k: int) -> NDArray[np.bool_]:
    """Return where the class is not among the first ``k`` predictions, bool ``(n,)``."""
    assert evidence.ranks is not None
    return (evidence.ranks < 1) | (evidence.ranks > k)


def ranks_of(classes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the place of the ground-truth class among the predictions, as ``Evidence.ranks`` has it.

    Args:
        classes: int64 ``(n, k)``, the ground-truth class, then the predictions, if there are any.
    """
    if classes.shape[1] < 2:
        return None
    right = classes[:, 1:6] == classes[:, :1]
    return np.where(right.any(1), right.argmax(1) + 1, 0)


register(Metric("top1_cls_err", lambda e: classification_error(e, 1), better="lower", rules=(), needs=("ranks",)))
register(Metric("top5_cls_err", lambda e: classification_error(e, 5), better="lower", rules=(), needs=("ranks",)))
