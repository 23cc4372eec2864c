"""Refinements: settings that any method takes in addition to its own."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from wsol.errors import InputError
from wsol.methods._finer_target import FinerTarget
from wsol.methods._fusion import FUSIONS, fuse_layers
from wsol.methods._own_target import OwnTarget
from wsol.methods._scale import scale_to_one
from wsol.methods._target import Target
from wsol.methods.base import Forward, Method
from wsol.methods.eigencam import compute_principal_map
from wsol.models import Classifier
from wsol.models.layered import LayeredClassifier

_SCALES = (1.0, 0.9, 1.1)


@dataclass(frozen=True)
class Refinements:
    """Settings that refine the map of a method.

    Attributes:
        aug_smooth: Whether the map is the mean over the image and its mirror image, each times 0.9, 1 and 1.1.
        eigen_smooth: Whether the map is the first principal component of the weighted feature maps, not their sum.
        target: The number that the map explains: class-score; finer, what tells the class from the closest ones; or
            FILE.py:FUNCTION, a function of class scores.
        finer_alpha: With target=finer, the strength of the comparison.
        finer_classes: With target=finer, the number of closest classes.
        fusion: ``mean`` or ``product`` of the maps of several target layers; empty for one target layer.
    """

    aug_smooth: bool = False
    eigen_smooth: bool = False
    target: str = "class-score"
    finer_alpha: float = FinerTarget.alpha
    finer_classes: int = FinerTarget.classes
    fusion: str = ""

    def __post_init__(self) -> None:
        """Check that the settings belong together.

        Raises:
            ValueError: They do not.
        """
        if self.target == "finer":
            FinerTarget(self.finer_alpha, self.finer_classes)
        elif (self.finer_alpha, self.finer_classes) != (FinerTarget.alpha, FinerTarget.classes):
            raise ValueError("finer_alpha and finer_classes go with target=finer")
        if self.fusion and self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r:.80}, and must be {' or '.join(FUSIONS)}")

    @property
    def signature(self) -> str:
        """The settings that have an effect, as ``find_method`` takes them; empty if there is none."""
        shown = {each.name for each in fields(self) if getattr(self, each.name) != each.default}
        shown |= {"finer_alpha", "finer_classes"} if self.target == "finer" else set()
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name in shown}
        return ",".join(f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in values.items())


@dataclass(frozen=True)
class RefinedMethod(Method):
    """A method with refinements; what it needs, and what it cannot be applied to, is as for the method alone.

    ``aug_smooth`` is test-time augmentation, as in the package grad-cam: the mean of six maps, those of the image and
    of its mirror image, each as it is and with the normalized values times 0.9 and 1.1; maps of mirror images are
    mirrored back. Each map is scaled to [0, 1] before the mean, a map without contrast to 0. The package also sets
    negative values to 0 first, and scales again after it has resized each map to the image; here the formula of the
    method decides about negative values, and maps stay at their resolution. Costs five further forward passes and six
    times the method.

    ``eigen_smooth`` takes the first principal component of the weighted feature maps, over the places and with each
    channel's mean subtracted, in place of their sum; a ReLU at the end of the method's formula stays. The package
    grad-cam always sets negative values to 0, and leaves the sign to chance: half of its maps are what is left of the
    negative. Here the sign is that of the sum: their scalar product is positive. Costs products of matrices of the size
    of places or channels, whichever is smaller, for each class.

    A target takes the place of the class score in everything that the method computes from class scores.

    ``fusion`` combines the maps of several target layers (``--layer layer3,layer4``). Each layer's map is scaled to
    [0, 1] by its minimum and maximum, a map without contrast to 0, and resized (bilinear) to the largest map among
    them. ``mean`` is the mean of these, as in the package grad-cam with several target layers. ``product`` is their
    product, RefineCAM: Domeniconi et al., "How to Evaluate and Refine your CAM", 2026, arXiv 2605.14641. Both packages
    resize to the image instead, which is the same for layers with maps of one size; grad-cam sets negative values to 0
    first and adds 1e-7 to the maximum, and both scale the result to [0, 1] again. A layer whose map has no contrast
    makes a product of zeros. One forward pass serves all layers, and one backward pass, down to the first, methods of
    gradients; methods that run the network themselves do so for each layer.

    Attributes:
        method: The method.
        refinements: The refinements.
        target: The number that the map explains; None for the class score, or for the method's own.
    """

    method: Method
    refinements: Refinements
    target: "FinerTarget | OwnTarget | None" = None

    def __post_init__(self) -> None:
        """Take over what is known of the method, and check that it takes the refinements.

        Raises:
            InputError: It does not.
        """
        for name in ("name", "needs", "class_specific", "takes_target", "reads_layer"):
            object.__setattr__(self, name, getattr(self.method, name))
        object.__setattr__(self, "fuses_layers", self.reads_layer and self.refinements.fusion != "")
        if self.refinements.eigen_smooth and not self.method.is_weighted_sum:
            raise InputError(f"{self.name} is no sum of weighted feature maps; leave out eigen_smooth")
        if self.target is not None and not self.class_specific:
            raise InputError(f"{self.name} gives the same map for every class; leave out target")
        if self.target is not None and not self.takes_target:
            raise InputError(f"{self.name} takes no other target than its own; leave out target")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the method's, of the largest layer; averaged and fused ones are in [0, 1]."""
        asked = classes if self.class_specific else classes[:, :1]
        maps = self._average(forward, asked) if self.refinements.aug_smooth else self._compute(forward, asked)
        return maps.expand(-1, classes.shape[1], -1, -1)

    def _average(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the mean map over mirrored and scaled images."""
        total = torch.zeros((), dtype=forward.features.dtype, device=forward.features.device)
        for scale in _SCALES:
            scaled = forward if scale == 1 else forward.rerun(forward.images * scale)
            mirrored = forward.rerun(scaled.images.flip(3))
            pair = self._compute(scaled, classes), self._compute(mirrored, classes).flip(3)
            total = total + (scale_to_one(pair[0]) + scale_to_one(pair[1])) / (2 * len(_SCALES))
        return total

    def _compute(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the maps of one forward pass."""
        forward = replace(forward, classes_checked=True)
        if self.target is None:
            return self._fuse(forward, classes)
        if isinstance(self.target, FinerTarget):
            target, classes = self.target.fix(forward.logits, classes)
            counted = _CountedTarget(target)
        else:
            counted = _CountedTarget(self.target)
        maps = self._fuse(replace(forward, target=counted), classes)
        if not counted.calls:
            raise InputError(f"{self.name} ignores its target; leave out target")
        return maps

    def _fuse(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the maps of one forward pass, those of its layers fused."""
        fusion = self.refinements.fusion
        if not fusion:
            return self._smooth(forward, classes)
        if not forward.layers:
            raise InputError(f"{self.name} cannot be applied: {self.unsupported_reason(forward.network)}")
        by_class = self.needs == "gradients"
        return fuse_layers(lambda *each: scale_to_one(self._smooth(*each)), forward, classes, fusion, by_class)

    def _smooth(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the maps of a forward pass that is read at one layer."""
        if not self.refinements.eigen_smooth:
            return self.method.maps(forward, classes)
        maps = [compute_principal_map(each[:, 0]) for each in self.method.weigh(forward, classes)]
        return self.method.finish(torch.stack(maps, 1))

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require what the method requires, at each of several layers, and with target=finer a second class."""
        layers: tuple[Classifier, ...] = (network,)
        if self.refinements.fusion:
            if not isinstance(network, LayeredClassifier):
                return f"fusion combines several layers, and {network.layer} is the only one; name more with --layer"
            layers = network.layers
        reasons = [self.method.unsupported_reason(each) for each in layers]
        if isinstance(self.target, FinerTarget):
            reasons.append(self.target.unsupported_reason(network.classes))
        return next((each for each in reasons if each is not None), None)

    @property
    def signature(self) -> str:
        """That of the method, then the refinements that are on."""
        separator = "," if fields(self.method) else ":"  # type: ignore[arg-type]  # all methods are dataclasses
        return f"{self.method.signature}{separator}{self.refinements.signature}"


class _CountedTarget:
    """A target that counts its calls, since a method may overlook it.

    Args:
        target: The target.
    """

    def __init__(self, target: Target) -> None:
        self._target, self.calls = target, 0

    def __call__(self, logits: Tensor, classes: Tensor) -> Tensor:
        self.calls += 1
        return self._target(logits, classes)


def refine(method: Method, refinements: Refinements, target: OwnTarget | None = None) -> Method:
    """Return a method with refinements; itself if none is on.

    Args:
        method: The method, without refinements.
        refinements: The refinements.
        target: The function that ``refinements.target`` names, if it is a user's.

    Raises:
        InputError: The method does not take one of them.
    """
    if refinements == Refinements():
        return method
    if refinements.target == "finer":
        finer = FinerTarget(refinements.finer_alpha, refinements.finer_classes)
        return RefinedMethod(method, refinements, finer)
    return RefinedMethod(method, refinements, target)


def fit_layers(method: Method, network: Classifier) -> Method:
    """Return a method, with the mean as its fusion if the network is read at several layers and no other is set."""
    if not isinstance(network, LayeredClassifier):
        return method
    if not isinstance(method, RefinedMethod):
        return RefinedMethod(method, Refinements(fusion="mean"))
    refinements = method.refinements
    return replace(method, refinements=replace(refinements, fusion=refinements.fusion or "mean"))
