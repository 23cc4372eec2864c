"""Backpropagation to the image."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods._image_gradients import image_gradients
from wsol.methods.base import Forward, Method, register


@register("backprop")
@dataclass(frozen=True)
class Backprop(Method):
    """The largest magnitude, over the colours, of the gradient of the class score at each pixel.

    Simonyan et al., "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps",
    ICLR workshops 2014, section 3.1; what the CAM paper compares with. Costs a forward pass and, for each class, a
    backward pass of the whole network.
    """

    needs = "whole gradients"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        return image_gradients(forward, forward.images, classes).abs_().amax(2)
