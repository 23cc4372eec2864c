"""Classification: is the class among the first guesses?"""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import Evidence, Metric, register


def classification_error(evidence: Evidence, k: int) -> NDArray[np.bool_]:
    """Says where the class is not among the first ``k`` predictions, bool ``(n,)``."""
    assert evidence.ranks is not None
    return (evidence.ranks < 1) | (evidence.ranks > k)


register(Metric("top1_cls_err", lambda e: classification_error(e, 1), better="lower", rules=(), needs=("ranks",)))
register(Metric("top5_cls_err", lambda e: classification_error(e, 5), better="lower", rules=(), needs=("ranks",)))
