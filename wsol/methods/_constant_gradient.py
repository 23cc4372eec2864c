"""The map of a gradient method where the gradient is the same at every place."""

import contextlib
from typing import Literal

import torch

from wsol.methods.base import GradientMethod, Method

_SIDE, _CHANNELS = 5, 6
_TOLERANCE = 1e-9


def constant_gradient_map(method: Method) -> Literal["cam", "positive cam"] | None:
    """Name the map of a method where the gradient ``w_k`` of a score is the same at every place.

    There CAM is ``sum_k w_k A_k`` up to a factor (Selvaraju et al., ICCV 2017). The method is applied to
    random numbers.

    Args:
        method: Any method.

    Returns:
        ``cam`` for CAM times a positive factor, ``positive cam`` if in addition negative values are 0; None for
        anything else.
    """
    if not isinstance(method, GradientMethod):
        return None
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(1, 1, _CHANNELS, _SIDE, _SIDE, generator=generator, dtype=torch.float64) - 0.2
    weights = torch.randn(1, 1, _CHANNELS, 1, 1, generator=generator, dtype=torch.float64)
    cam = (weights * features).sum(2)
    with contextlib.suppress(Exception), torch.no_grad():  # a user's own method need not accept arrays this small
        score_map = method.combine(features, weights.expand_as(features).contiguous())
        expected: tuple[tuple[Literal["cam", "positive cam"], torch.Tensor], ...]
        expected = (("cam", cam), ("positive cam", cam.relu()))
        for name, other in expected:
            factor = score_map.amax() / other.amax()
            if factor > 0 and bool(((score_map - factor * other).abs() < _TOLERANCE * score_map.amax()).all()):
                return name
    return None
