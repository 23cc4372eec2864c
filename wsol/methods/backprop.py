"""Backpropagation to the image."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods._image_gradients import compute_image_gradients
from wsol.methods.base import METHODS, Forward, Method


@METHODS.register("backprop")
@dataclass(frozen=True)
class Backprop(Method):
    """Largest magnitude, over the color channels, of the gradient of the class score at each pixel.

    Simonyan et al., "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps",
    ICLR workshops 2014, section 3.1; a baseline of the CAM paper. Costs a forward pass and, for each class, a
    backward pass of the whole network.
    """

    needs = "image gradients"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        return compute_image_gradients(forward, forward.images, classes).abs_().amax(2)
