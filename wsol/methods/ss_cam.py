"""SS-CAM."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._channel_weights import ChannelWeights
from wsol.methods._masking import make_channel_masks, weights_by_score
from wsol.methods.base import METHODS, Forward


@METHODS.register("ss-cam")
@dataclass(frozen=True)
class SSCAM(ChannelWeights):
    """Score-CAM averaged over noisy masks.

    Wang et al., "SS-CAM: Smoothed Score-CAM for Sharper Visual Feature Localization", 2020, in the variant that smooths
    the maps: as Score-CAM, with ``f_c(X * (H_k + e))`` averaged over samples of Gaussian noise e in place of ``f_c(X *
    H_k)``. The noise is drawn for each sample and map, and is the same for all images. Costs samples x C forward passes
    of the whole network.

    Attributes:
        samples: Number of samples of noise.
        std: Standard deviation of the noise; masks are in [0, 1].
        seed: Seed of the noise.
    """

    samples: int = 35
    std: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that the settings give a map."""
        if self.samples < 1 or not self.std >= 0:
            raise ValueError("samples must be 1 or more, std 0 or more")

    def weights(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the softmax of the mean scores under the masks of each map."""
        return weights_by_score(forward, classes, lambda image: self._make_masks(forward, image), self.samples)

    def _make_masks(self, forward: Forward, image: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.samples):
            for mask in make_channel_masks(forward, image):
                noise = torch.randn(mask.shape, generator=generator, dtype=mask.dtype)
                yield mask + noise.to(mask.device) * self.std
