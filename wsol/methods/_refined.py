"""Refinements: settings that any method takes in addition to its own."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from wsol.errors import InputError
from wsol.methods._fusion import FUSIONS, fuse_layers
from wsol.methods.base import Forward, Method
from wsol.models import Classifier
from wsol.models.layered import LayeredClassifier
from wsol.registry import with_settings

_SCALES = (1.0, 0.9, 1.1)


@dataclass(frozen=True)
class Refinements:
    """Settings that refine the map of a method.

    Attributes:
        aug_smooth: Whether the map is the mean over the image and its mirror image, each times 0.9, 1 and 1.1.
        fusion: ``mean`` or ``product`` of the maps of several target layers; empty for one target layer.
    """

    aug_smooth: bool = False
    fusion: str = ""

    def __post_init__(self) -> None:
        """Check that the fusion is known.

        Raises:
            ValueError: It is not.
        """
        if self.fusion and self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r:.80}, and must be {' or '.join(FUSIONS)}")

    @property
    def signature(self) -> str:
        """The settings that differ from their defaults, as ``find_method`` takes them."""
        given = [(each.name, getattr(self, each.name)) for each in fields(self)]
        defaults = {each.name: each.default for each in fields(self)}
        return ",".join(
            f"{name}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in given
            if value != defaults[name]
        )


@dataclass(frozen=True)
class RefinedMethod(Method):
    """A method with refinements; what it needs, and what it cannot be applied to, is as for the method alone.

    ``aug_smooth`` is test-time augmentation, as in the package grad-cam: the mean of six maps, those of the image and
    of its mirror image, each as it is and with the normalized values times 0.9 and 1.1; maps of mirror images are
    mirrored back. Each map is scaled to [0, 1] before the mean, a map without contrast to 0. The package also sets
    negative values to 0 first, and scales again after it has resized each map to the image; here the formula of the
    method decides about negative values, and maps stay at their resolution. Costs five further forward passes and six
    times the method.

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
    """

    method: Method
    refinements: Refinements

    def __post_init__(self) -> None:
        """Take over what is known of the method."""
        for name in ("name", "needs", "class_specific", "reads_layer"):
            object.__setattr__(self, name, getattr(self.method, name))
        object.__setattr__(self, "fuses_layers", self.reads_layer and self.refinements.fusion != "")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the method's, the largest of several layers; refined ones are in [0, 1]."""
        forward = replace(forward, classes_checked=True)
        return self._average(forward, classes) if self.refinements.aug_smooth else self._maps(forward, classes)

    def _average(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the mean map over mirrored and scaled images."""
        asked = classes if self.class_specific else classes[:, :1]
        total = torch.zeros((), dtype=forward.features.dtype, device=forward.features.device)
        for scale in _SCALES:
            scaled = forward if scale == 1 else forward.rerun(forward.images * scale)
            mirrored = forward.rerun(scaled.images.flip(3))
            pair = self._maps(scaled, asked), self._maps(mirrored, asked).flip(3)
            total = total + (scale_to_one(pair[0]) + scale_to_one(pair[1])) / (2 * len(_SCALES))
        return total.expand(-1, classes.shape[1], -1, -1)

    def _maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the maps of one forward pass, those of its layers fused."""
        fusion = self.refinements.fusion
        if not fusion:
            return self._layer_maps(forward, classes)
        if not forward.layers:
            raise InputError(f"{self.name} cannot be applied: {self.unsupported_reason(forward.network)}")
        by_class = self.needs == "gradients"
        return fuse_layers(lambda *each: scale_to_one(self._layer_maps(*each)), forward, classes, fusion, by_class)

    def _layer_maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the maps of a forward pass that is read at one layer."""
        return self.method.maps(forward, classes)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require what the method requires, at each of several layers."""
        if not self.refinements.fusion:
            return self.method.unsupported_reason(network)
        if not isinstance(network, LayeredClassifier):
            return f"fusion combines several layers, and {network.layer} is the only one; name more with --layer"
        reasons = [self.method.unsupported_reason(each) for each in network.layers]
        return next((each for each in reasons if each is not None), None)

    @property
    def signature(self) -> str:
        """That of the method, then the refinements that are on."""
        separator = "," if fields(self.method) else ":"  # type: ignore[arg-type]  # all methods are dataclasses
        return f"{self.method.signature}{separator}{self.refinements.signature}"


def refine(title: str, method: Method, settings: str) -> Method:
    """Return a method with settings of its own and refinements; unwrapped if no refinement is on.

    Args:
        title: Kind and name of the method, for messages.
        method: The method with its defaults; a setting of its own hides the refinement of the same name.
        settings: ``KEY=VALUE,...``; empty for the defaults.

    Raises:
        InputError: A key is unknown, or a value does not have the type of its key.
    """
    own = {each.name for each in fields(method)}  # type: ignore[arg-type]  # all methods are dataclasses
    general = {each.name for each in fields(Refinements)} - own
    pairs = settings.split(",") if settings else []
    chosen = [pair for pair in pairs if pair.partition("=")[0] in general]
    method = with_settings(title, method, ",".join(pair for pair in pairs if pair not in chosen))
    refinements = with_settings(title, Refinements(), ",".join(chosen))
    return method if refinements == Refinements() else RefinedMethod(method, refinements)


def fit_layers(method: Method, network: Classifier) -> Method:
    """Return a method, with the mean as its fusion if the network is read at several layers and no other is set."""
    if not isinstance(network, LayeredClassifier):
        return method
    if not isinstance(method, RefinedMethod):
        return RefinedMethod(method, Refinements(fusion="mean"))
    refinements = method.refinements
    return replace(method, refinements=replace(refinements, fusion=refinements.fusion or "mean"))


def scale_to_one(maps: Tensor) -> Tensor:
    """Return maps ``(..., h, w)`` scaled to [0, 1] each; zeros for one without contrast."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    span = high - low
    return (maps - low) / span.masked_fill(span == 0, 1)
