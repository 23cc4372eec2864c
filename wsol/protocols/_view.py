"""What a network sees of an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.resize import bilinear


@dataclass(frozen=True)
class View:
    """The image squashed to a square, aspect ratio not kept, and the crops of it that go through the network.

    Attributes:
        side: Of the square, in pixels.
        crop: Side of a crop; as large as the square for the whole of it.
        count: 1 (the centre), or 10 (four corners and the centre, then the same mirrored).
    """

    side: int
    crop: int
    count: int = 1

    @property
    def signature(self) -> str:
        """``224``, or ``256/10x224``: ten crops of 224 x 224 out of 256 x 256."""
        return str(self.side) if self.crop == self.side else f"{self.side}/{self.count}x{self.crop}"

    @property
    def suffix(self) -> str:
        """What a method's name is followed by in a run's signature: nothing for the usual 224."""
        return "" if self.signature == "224" else f"@{self.signature}"

    @property
    def places(self) -> tuple[tuple[int, int, bool], ...]:
        """Top, left, and whether it is mirrored, of every crop."""
        room = self.side - self.crop
        centre = (room // 2, room // 2)
        if self.count == 1:
            return ((*centre, False),)
        corners = ((0, 0), (0, room), (room, 0), (room, room), centre)
        return tuple((*corner, mirrored) for mirrored in (False, True) for corner in corners)

    def crops(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Cut squares ``(n, side, side, 3)`` to one array ``(n, crop, crop, 3)`` a place."""
        cut = [(pixels[:, y : y + self.crop, x : x + self.crop], turned) for y, x, turned in self.places]
        return [np.ascontiguousarray(crop[:, :, ::-1] if turned else crop) for crop, turned in cut]

    def assemble(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put the maps of the crops back where they were cut, added up; nothing is added where no crop was.

        Args:
            maps: float32 ``(k, h, w)``, or ``(k, count, h, w)`` for several crops.

        Returns:
            float32 ``(k, h, w)``, the maps themselves, where the network saw the whole square; else
            ``(k, side, side)``, each crop's map upsampled bilinearly to the crop's size.
        """
        if self.crop == self.side:
            return maps
        views = maps if maps.ndim == 4 else maps[:, None]
        out = np.zeros((len(maps), self.side, self.side), np.float32)
        for i, (y, x, mirrored) in enumerate(self.places):
            large = bilinear(views[:, i], (self.crop, self.crop))
            out[:, y : y + self.crop, x : x + self.crop] += large[..., ::-1] if mirrored else large
        return out
