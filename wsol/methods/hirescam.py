"""HiResCAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import GradientMethod, register


@register("hirescam")
@dataclass(frozen=True)
class HiResCAM(GradientMethod):
    """Multiplies feature maps with their gradients, place by place.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks",
    2020, eq. 4: ``sum_k g_kij A_kij``, no ReLU. On global average pooling and one linear layer that is ``CAM / (h w)``.
    Costs what Grad-CAM costs.
    """

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """See the class."""
        return (gradients * features).sum(2)
