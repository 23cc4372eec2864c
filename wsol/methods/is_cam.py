"""IS-CAM."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from wsol.methods._channel_weights import ChannelWeights
from wsol.methods._masking import make_channel_masks, weights_by_score
from wsol.methods.base import METHODS, Forward


@METHODS.register("is-cam")
@dataclass(frozen=True)
class ISCAM(ChannelWeights):
    """Score-CAM averaged over masks of growing brightness.

    Naidu et al., "IS-CAM: Integrated Score-CAM for axiomatic-based explanations", 2020: as Score-CAM, with
    ``f_c(a_i X * H_k)`` averaged over steps i in place of ``f_c(X * H_k)``. The paper accumulates the mask,
    ``a_i = sum_{j <= i} j / N``, so that later steps are brighter than the image; this method and the package torchcam
    do the same. Costs steps x C forward passes of the whole network.

    Attributes:
        samples: Number of steps, N.
    """

    samples: int = 10

    def __post_init__(self) -> None:
        """Check that the settings give a map."""
        if self.samples < 1:
            raise ValueError("samples must be 1 or more")

    def weights(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the softmax of the mean scores under the masks of each map."""
        return weights_by_score(forward, classes, lambda image: self._make_masks(forward, image), self.samples)

    def _make_masks(self, forward: Forward, image: int) -> Iterator[Tensor]:
        for step in range(1, self.samples + 1):
            factor = step * (step + 1) / 2 / self.samples
            yield from (mask * factor for mask in make_channel_masks(forward, image))
