"""Integrated gradients."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsol.methods._image_gradients import compute_image_gradients
from wsol.methods.base import METHODS, Forward, Method


@METHODS.register("integrated-gradients")
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """Image times its gradient, averaged along the path from the mean color to the image.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, eq. 1, from a baseline of 0 (in the
    normalized image: the mean color), by Gauss-Legendre quadrature, as in the package captum; then the largest
    magnitude over the color channels. Costs, for each step, a forward pass and, for each class, a backward pass of the
    whole network.

    Attributes:
        steps: Number of points of the quadrature.
    """

    needs = "image gradients"
    steps: int = 50

    def __post_init__(self) -> None:
        """Check that the settings give a map."""
        if self.steps < 1:
            raise ValueError("steps must be 1 or more")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        total = torch.zeros((), dtype=forward.images.dtype, device=forward.images.device)
        for point, weight in zip(*np.polynomial.legendre.leggauss(self.steps), strict=True):
            images = forward.images * float((1 + point) / 2)
            total = total + compute_image_gradients(forward, images, classes).mul_(float(weight) / 2)
        return (total * forward.images[:, None]).abs_().amax(2)
