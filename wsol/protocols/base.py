"""What a protocol decides."""

import typing

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.registry import Registry


class Protocol(typing.Protocol):
    """A named, frozen set of conventions, from the image's size to what counts as a hit.

    Boxes that a protocol hands out are half-open pixel edges in its own frame.
    """

    def __hash__(self) -> int:
        """Equal conventions are one protocol."""

    @property
    def signature(self) -> str:
        """Name and every convention that can vary."""

    @property
    def image_size(self) -> int:
        """Side of the square that an image is squashed to, in pixels."""

    @property
    def delta(self) -> float:
        """IoU from which on a box is a hit."""

    @property
    def taus(self) -> NDArray[np.float64]:
        """The threshold grid, ``(levels,)``, ascending."""

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Returns the boxes ``(g, 4)`` of a sample whose frame is ``size``, (width, height)."""

    def boxes(self, maps: NDArray[np.float32], taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the boxes ``(k, levels, 4)`` that raw maps ``(k, h, w)`` give at each tau."""

    def curves(
        self, score_map: NDArray[np.float32], truth: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Holds a raw map against ground truth at every tau.

        Args:
            score_map: ``(h, w)``.
            truth: ``(g, 4)``, in the protocol's frame.

        Returns:
            The IoU ``(levels,)`` that the box reaches, and the one that the best of all contours' boxes reaches; None
            in place of that where the protocol takes one box alone.
        """


PROTOCOLS: Registry[Protocol] = Registry("protocol", "wsol.protocols")
