"""IS-CAM."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from wsol.methods._masking import make_channel_masks, weights_by_score
from wsol.methods.base import METHODS, Forward, Method
from wsol.methods.cam import weigh_channels, weighted_sum


@METHODS.register("is-cam")
@dataclass(frozen=True)
class ISCAM(Method):
    """Score-CAM averaged over masks of growing brightness.

    Naidu et al., "IS-CAM: Integrated Score-CAM for axiomatic-based explanations", 2020: as Score-CAM, with
    ``f_c(a_i X * H_k)`` averaged over steps i in place of ``f_c(X * H_k)``. The paper accumulates the mask,
    ``a_i = sum_{j <= i} j / N``, so that later steps are brighter than the image; this method and the package torchcam
    do the same. Costs steps x C forward passes of the whole network.

    Attributes:
        samples: Number of steps, N.
    """

    needs = "forward passes"
    reads_layer = True
    samples: int = 10

    def __post_init__(self) -> None:
        """Check that the settings give a map."""
        if self.samples < 1:
            raise ValueError("samples must be 1 or more")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        return self.finish(weighted_sum(self._weights(forward, classes), forward.features))

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield ``w_k A_k``."""
        yield from weigh_channels(self._weights(forward, classes), forward.features)

    def finish(self, sums: Tensor) -> Tensor:
        """Return the positive part."""
        return sums.relu()

    def _weights(self, forward: Forward, classes: Tensor) -> Tensor:
        return weights_by_score(forward, classes, lambda image: self._make_masks(forward, image), self.samples)

    def _make_masks(self, forward: Forward, image: int) -> Iterator[Tensor]:
        for step in range(1, self.samples + 1):
            factor = step * (step + 1) / 2 / self.samples
            yield from (mask * factor for mask in make_channel_masks(forward, image))
