"""Protocol of this package: original resolution, no truncation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import boxes_at_taus
from wsol.boxes.resize import linear_taps
from wsol.boxes.thresholds import FloatArray
from wsol.datasets import Sample
from wsol.protocols._components import score_components
from wsol.protocols._normalization import DEFAULT_PERCENTILE, NormalizingProtocol, Percentile
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, GroundTruth, Protocol


@PROTOCOLS.register("exact")
@dataclass(frozen=True)
class Exact(NormalizingProtocol):
    """Original geometry: the result of the other protocols without their truncations.

    The image is squashed to ``size`` x ``size`` for the network. The map is upsampled (bilinear) directly to the
    annotation's frame and normalized; a constant map becomes zeros. A pixel is foreground if its score is
    strictly above tau. The 8-connected component with the most pixels gives the box; ties go to the component whose
    topmost, then leftmost pixel comes first. Boxes are half-open edges, the IoU has no + 1, and without a component the
    box is empty. A mask of another size than its frame is resized by nearest neighbor.

    Maps that another program computed may have any size and range.

    Attributes:
        levels: Number of taus of the grid: 0, 1 / (levels - 1), ..., 1. With 256 they are the steps of 8 bit, 0.2 among
            them.
        delta: IoU from which on a box is a hit, inclusive.
        also: Another tau that is evaluated, if it is not on the grid; only the rule ``fixed`` uses it. A run sets it
            where its tau needs it.
        size: Side of the square image that the network sees, in pixels; by default that of its weights, or 224.
        norm: Normalization of the map: ``minmax``, ``max``, ``pas`` or ``ivr``.
        percentile: Share of the pixels that ``ivr`` maps to 0; ``val`` or ``oracle`` chooses it. For ``norm=ivr``.
    """

    shown_if_changed = ("delta", "also", "size")

    levels: int = 256
    delta: float = 0.5
    also: float = 0.0
    size: int = 224
    norm: str = "minmax"
    percentile: Percentile = DEFAULT_PERCENTILE

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 30000 or not 0 < self.delta <= 1 or not 0 <= self.also <= 1:
            raise ValueError("levels must be from 2 to 30000, delta above 0 and up to 1, also from 0 to 1")
        if not 2 <= self.size <= 4096:
            raise ValueError("size must be from 2 to 4096")
        self.check_settings()

    @property
    def view(self) -> View:
        """Input of the network: the whole image, squashed to ``size`` x ``size``."""
        return View(self.size, self.size)

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0 to 1, both included."""
        grid = self._grid
        return grid if self.off_grid is None else np.insert(grid, self.off_grid, self.also)

    @cached_property
    def off_grid(self) -> int | None:
        """Index of the tau ``also``; None if it is on the grid."""
        grid = self._grid
        return None if _is_on(grid, self.also) else int(np.searchsorted(grid, self.also))

    def including(self, tau: float | str) -> Protocol:
        """Return a protocol that evaluates this tau too, if it is between 0 and 1."""
        if isinstance(tau, str) or not 0 <= tau <= 1 or _is_on(self.taus, tau):
            return self
        return replace(self, also=float(tau))

    @property
    def _grid(self) -> NDArray[np.float64]:
        return np.arange(self.levels) / (self.levels - 1)

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the boxes ``(g, 4)`` as half-open edges, clipped to the frame."""
        return np.clip(sample.edges, 0, [*size, *size])

    def prepare(self, maps: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
        """Upsample and normalize raw maps ``(k, h, w)`` to ``(k, height, width)``."""
        return self.normalize(maps, size[::-1], linear_taps)

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the box ``(k, taus, 4)`` of the largest component of prepared maps ``(k, h, w)`` at ascending taus."""
        return boxes_at_taus(prepared, taus)

    def score_batch(
        self,
        view: View,
        maps: NDArray[np.float32],
        truths: Sequence[GroundTruth],
        classes: NDArray[np.int64],
        tau_index: int | None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]:
        """Score the raw maps of some images; the curves of all of them are computed together."""
        return score_components(self, view, maps, truths, classes, tau_index)


def _is_on(taus: NDArray[np.float64], tau: float) -> bool:
    return bool(np.isclose(taus, tau, rtol=0, atol=1e-6).any())
