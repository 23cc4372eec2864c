"""The number that a map explains: a class score, or another function of the class scores."""

from collections.abc import Callable

from torch import Tensor

Target = Callable[[Tensor, Tensor], Tensor]  # class scores (n, classes) and int64 (n, k) to numbers (n, k)


def class_score(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the scores ``(n, k)`` of classes ``(n, k)`` from those of all classes, ``(n, classes)``."""
    return logits.gather(1, classes)
