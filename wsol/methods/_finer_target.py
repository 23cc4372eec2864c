"""The target of Finer-CAM: what tells a class from those that are closest to it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._target import class_score

_EPSILON = 1e-9  # as in the package grad-cam


@dataclass(frozen=True)
class FinerTarget:
    """Differences to the closest classes, weighted by their probabilities.

    Zhang et al., "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation", CVPR 2025, which
    explains ``y_c - alpha y_d`` in place of the score ``y_c`` (alpha is its gamma). For several classes d this is, as
    in the authors' code and the package grad-cam, ``sum_d p_d (y_c - alpha y_d) / (sum_d p_d + 1e-9)``, where p is the
    softmax over all classes. As there, gradients flow through p too, and the closest classes are those with the
    smallest magnitude of ``y_c - y_d`` on the image itself, also where the target is then computed for changed copies.

    Those two sort all classes by that magnitude and explain the first, so that a class may be mistaken for another one
    of exactly the same score; here a class is never compared with itself, and of equally close classes the first
    counts. A network with fewer other classes compares with all of them.

    Attributes:
        alpha: Strength of the comparison; 0 is the class score.
        classes: Number of classes that a class is compared with.
    """

    alpha: float = 1.0
    classes: int = 3

    def __post_init__(self) -> None:
        """Check that the numbers make a target."""
        if self.classes < 1 or not math.isfinite(self.alpha):
            raise ValueError(
                f"the number of closest classes must be 1 or more, and alpha a finite number; they are {self.classes} "
                f"and {self.alpha}"
            )

    def unsupported_reason(self, classes: int) -> str | None:
        """Return why a network with a number of classes has no such target, in one sentence; None if it has."""
        return "the network has one class, and target=finer compares classes; leave it out" if classes == 1 else None

    def fix(self, logits: Tensor, classes: Tensor) -> "tuple[FixedFinerTarget, Tensor]":
        """Choose the closest classes of each pair of image and class.

        Args:
            logits: Class scores of the images, ``(n, classes)``.
            classes: Classes of interest, int64 ``(n, k)``.

        Returns:
            The target, which takes the numbers of the pairs in place of classes; and these numbers, ``(n, k)``.
        """
        with torch.no_grad():
            distances = (logits[:, None] - class_score(logits, classes)[:, :, None]).abs()
            distances = distances.scatter(2, classes[:, :, None], math.inf)
            compared = min(self.classes, logits.shape[1] - 1)
            # Not topk, which leaves open which of equal values it returns.
            closest = distances.sort(stable=True, dim=2).indices[:, :, :compared]
        pairs = torch.arange(classes.numel(), device=classes.device).reshape(classes.shape)
        return FixedFinerTarget(self.alpha, classes.flatten(), closest.flatten(0, 1)), pairs


@dataclass(frozen=True, eq=False)
class FixedFinerTarget:
    """The target of ``FinerTarget`` for numbered pairs of an image and a class, with the classes that it compares.

    Attributes:
        alpha: Strength of the comparison.
        classes: The class of each pair, int64 ``(pairs,)``.
        closest: The classes that it is compared with, int64 ``(pairs, compared)``.
    """

    alpha: float
    classes: Tensor
    closest: Tensor

    def __call__(self, logits: Tensor, pairs: Tensor) -> Tensor:
        """Return the target of each pair, ``(n, k)``, from scores ``(n, classes)`` and numbers of pairs ``(n, k)``."""
        closest = self.closest[pairs]
        own = class_score(logits, self.classes[pairs])[:, :, None]
        others = class_score(logits, closest.flatten(1)).reshape(closest.shape)
        weights = class_score(logits.softmax(1), closest.flatten(1)).reshape(closest.shape)
        return (weights * (own - self.alpha * others)).sum(2) / (weights.sum(2) + _EPSILON)
