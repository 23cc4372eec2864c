"""Score-CAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods._channel_weights import ChannelWeights
from wsol.methods._masking import make_channel_masks, weights_by_score
from wsol.methods.base import METHODS, Forward


@METHODS.register("scorecam")
@dataclass(frozen=True)
class ScoreCAM(ChannelWeights):
    """Feature maps weighted by the class score of the image masked with each of them.

    Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", CVPR workshops 2020,
    eq. 5 to 8: ``relu(sum_k w_k A_k)`` with ``w = softmax_k(f_c(X * H_k) - f_c(X_b))`` over the maps, where ``H_k`` is
    map k, normalized and resized to the image, and ``f_c`` the logit; the score of the baseline cancels in the softmax.
    Costs C forward passes of the whole network, shared by all classes.

    As in the package torchcam, a map is normalized before it is resized. The paper does the reverse, which differs by
    the part of a map's peak that bilinear interpolation misses: the larger the enlargement, the smaller that part.
    """

    def weights(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the softmax of the mean scores under the masks of each map."""
        return weights_by_score(forward, classes, lambda image: make_channel_masks(forward, image))
