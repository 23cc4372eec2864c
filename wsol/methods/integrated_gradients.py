"""Integrated gradients."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsol.methods._image_gradients import image_gradients
from wsol.methods.base import Forward, Method, register


@register("integrated-gradients")
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The image times its gradient, averaged on the way from the mean colour to the image.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, eq. 1, from a baseline of 0 (of the
    normalised image: the mean colour), by Gauss-Legendre quadrature, as the package captum has it; then the largest
    magnitude over the colours. Costs, for each step, a forward pass and, for each class, a backward pass of the whole
    network.

    Attributes:
        steps: Points of the quadrature.
    """

    needs = "whole gradients"
    steps: int = 50

    def __post_init__(self) -> None:
        """Refuse settings that make no map."""
        if self.steps < 1:
            raise ValueError("steps must be 1 or more")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        total = torch.zeros((), dtype=forward.images.dtype, device=forward.images.device)
        for point, weight in zip(*np.polynomial.legendre.leggauss(self.steps), strict=True):
            images = forward.images * float((1 + point) / 2)
            total = total + image_gradients(forward, images, classes).mul_(float(weight) / 2)
        return (total * forward.images[:, None]).abs_().amax(2)
