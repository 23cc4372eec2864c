"""CAM: the class activation map."""

import torch
from torch import Tensor

from wsol.cams.base import METHODS, Forward


@METHODS.register("cam")
def cam(forward: Forward, classes: Tensor) -> Tensor:
    """Weighs the last feature maps by the weights of a class.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. 2:
    ``M_c(x, y) = sum_k W[c, k] F_k(x, y)``, no bias, no ReLU. So the mean of the map, plus the bias where the linear
    layer has one, is the logit of the class. Where the network pools one map a class, that is the map, with whatever
    bias or activation comes before the pooling. Costs one product of ``k x C`` and ``C x hw`` beyond the forward pass.

    Args:
        forward: The forward pass of a batch.
        classes: int64 ``(n, k)``, the classes of interest of each image.

    Returns:
        float ``(n, k, h, w)``, any sign and range.
    """
    features, linear = forward.features, forward.network.linear
    with torch.inference_mode():
        if linear is None:
            return features.gather(1, classes[:, :, None, None].expand(-1, -1, *features.shape[2:]))
        return torch.einsum("nkc,nchw->nkhw", linear.weight[classes], features)
