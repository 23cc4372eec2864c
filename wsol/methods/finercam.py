"""Finer-CAM."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from wsol.methods._finer_target import FinerTarget
from wsol.methods.base import METHODS, Forward, Method
from wsol.methods.gradcam import GradCAM
from wsol.models import Classifier

_BASE = GradCAM()


@METHODS.register("finercam")
@dataclass(frozen=True)
class FinerCAM(Method):
    """Grad-CAM of what tells a class from the classes that are closest to it.

    Zhang et al., "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation", CVPR 2025:
    ``gradcam:target=finer``, with the target of ``FinerTarget``, ``sum_d p_d (y_c - alpha y_d) / (sum_d p_d + 1e-9)``
    over the closest classes d, in place of the class score ``y_c``. Other methods that explain class scores take the
    same target. Costs what Grad-CAM costs; needs two classes or more.

    Attributes:
        alpha: Strength of the comparison; 0 is Grad-CAM.
        classes: Number of closest classes.
    """

    needs = "gradients"
    takes_target = False
    alpha: float = FinerTarget.alpha
    classes: int = FinerTarget.classes

    def __post_init__(self) -> None:
        """Check that the settings make a target."""
        FinerTarget(self.alpha, self.classes)

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features, 0 or more."""
        return _BASE.maps(*self._compare(forward, classes))

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield what Grad-CAM yields."""
        yield from _BASE.weigh(*self._compare(forward, classes))

    def finish(self, sums: Tensor) -> Tensor:
        """Return the positive part."""
        return _BASE.finish(sums)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require a class to compare with."""
        return "the network has one class, and finercam compares classes; use gradcam" if network.classes == 1 else None

    def _compare(self, forward: Forward, classes: Tensor) -> tuple[Forward, Tensor]:
        """Return the pass with the target, and the pairs of image and class that it takes in place of classes."""
        target, pairs = FinerTarget(self.alpha, self.classes).fix(forward.logits, classes)
        return replace(forward, target=target, classes_checked=True), pairs
