"""Refinements: settings that any method takes in addition to its own."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from wsol.methods.base import Forward, Method
from wsol.models import Classifier
from wsol.registry import with_settings

_SCALES = (1.0, 0.9, 1.1)


@dataclass(frozen=True)
class Refinements:
    """Settings that refine the map of a method.

    Attributes:
        aug_smooth: Whether the map is the mean over the image and its mirror image, each times 0.9, 1 and 1.1.
    """

    aug_smooth: bool = False

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

    Attributes:
        method: The method.
        refinements: The refinements.
    """

    method: Method
    refinements: Refinements

    def __post_init__(self) -> None:
        """Take over what is known of the method."""
        for name in ("name", "needs", "class_specific"):
            object.__setattr__(self, name, getattr(self.method, name))

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the method's, in [0, 1] with ``aug_smooth``."""
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
        """Return the maps of one forward pass."""
        return self.method.maps(forward, classes)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require what the method requires."""
        return self.method.unsupported_reason(network)

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


def scale_to_one(maps: Tensor) -> Tensor:
    """Return maps ``(..., h, w)`` scaled to [0, 1] each; zeros for one without contrast."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    span = high - low
    return (maps - low) / span.masked_fill(span == 0, 1)
