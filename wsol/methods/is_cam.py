"""IS-CAM."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from wsol.methods._masking import channel_masks, weigh_by_score
from wsol.methods.base import Forward, Method, register


@register("is-cam")
@dataclass(frozen=True)
class ISCAM(Method):
    """Score-CAM with growing masks, averaged.

    Naidu et al., "IS-CAM: Integrated Score-CAM for axiomatic-based explanations", 2020: as Score-CAM, with
    ``f_c(a_i X * H_k)`` averaged over steps i in the place of ``f_c(X * H_k)``. The paper accumulates the mask,
    ``a_i = sum_{j <= i} j / N``, so that later steps are brighter than the image; so does this, and the package
    torchcam. Costs steps x C forward passes of the whole network.

    Attributes:
        samples: Number of steps, N.
    """

    needs = "forwards"
    samples: int = 10

    def __post_init__(self) -> None:
        """Refuse settings that make no map."""
        if self.samples < 1:
            raise ValueError("samples must be 1 or more")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        return weigh_by_score(forward, classes, lambda image: self._masks(forward, image), self.samples)

    def _masks(self, forward: Forward, image: int) -> Iterator[Tensor]:
        for step in range(1, self.samples + 1):
            part = step * (step + 1) / 2 / self.samples
            yield from (mask * part for mask in channel_masks(forward, image))
