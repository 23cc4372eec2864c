"""Score-CAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods._masking import channel_masks, weigh_by_score
from wsol.methods.base import Forward, Method, register


@register("scorecam")
@dataclass(frozen=True)
class ScoreCAM(Method):
    """Weighs each feature map by the class score of the image seen through it.

    Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", CVPR workshops 2020,
    eq. 5 to 8: ``relu(sum_k w_k A_k)`` with ``w = softmax_k(f_c(X * H_k) - f_c(X_b))`` over the maps, where ``H_k`` is
    map k, normalised and resized to the image, and ``f_c`` the logit; the baseline's score falls out of the softmax.
    Costs C forward passes of the whole network, shared by all classes.

    As in the package torchcam, a map is normalised before it is resized. The paper has it the other way round, which
    differs by what bilinear interpolation misses of a map's peak: the less, the more it is enlarged.
    """

    needs = "forwards"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        return weigh_by_score(forward, classes, lambda image: channel_masks(forward, image))
