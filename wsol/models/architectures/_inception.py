"""Inception v3 with the padding of the WSOL literature."""

import torch
import torchvision.models
from torch import Tensor, nn
from torch.nn import functional


def build_padded_inception_v3(map_size: int) -> nn.Module:
    """Return torchvision's Inception v3 with maps of 14 x 14 or 28 x 28 after ``Mixed_6e``, for 224 x 224 images.

    The unpadded 3 x 3 convolutions and poolings up to there get a padding of 1, so that sides halve exactly; for 28 the
    last of these reductions has a stride of 1. Zhang et al., "Self-produced Guidance for Weakly-supervised Object
    Localization", ECCV 2018, and Choe et al., CVPR 2020, evaluate such networks. Weights of the unpadded network fit.

    Args:
        map_size: 14 or 28.
    """
    network: nn.Module = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=True)
    for name in ("Conv2d_1a_3x3.conv", "Conv2d_2a_3x3.conv", "Conv2d_4a_3x3.conv", "maxpool1", "maxpool2"):
        vars(network.get_submodule(name))["padding"] = (1, 1)
    network.add_module("Mixed_6a", PaddedReduction(network.get_submodule("Mixed_6a"), 1 if map_size == 28 else 2))
    return network


class PaddedReduction(nn.Module):
    """The grid reduction between 288 and 768 channels, padded."""

    def __init__(self, plain: nn.Module, stride: int) -> None:
        super().__init__()
        # The names are those of torchvision's weights.
        self.branch3x3 = plain.get_submodule("branch3x3")
        self.branch3x3dbl_1 = plain.get_submodule("branch3x3dbl_1")
        self.branch3x3dbl_2 = plain.get_submodule("branch3x3dbl_2")
        self.branch3x3dbl_3 = plain.get_submodule("branch3x3dbl_3")
        self.stride = stride
        for last in (self.branch3x3, self.branch3x3dbl_3):
            vars(last.get_submodule("conv")).update(stride=(stride, stride), padding=(1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps ``(n, 768, h, w)`` of maps ``(n, 288, H, W)``."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(maps)))
        pooled = functional.max_pool2d(maps, 3, self.stride, padding=1)
        return torch.cat([self.branch3x3(maps), double, pooled], 1)
