"""The input of the network, the squashed image or crops of it; and the part of the image that a frame shows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.resize import Taps, linear_taps, resize
from wsol.boxes.thresholds import FloatArray, are_constant


@dataclass(frozen=True)
class View:
    """The image squashed to a square, without keeping its aspect ratio, and the crops of it that the network sees.

    Attributes:
        side: Side of the square, in pixels.
        crop: Side of a crop; equal to ``side`` for the whole square.
        count: Number of crops: 1 (the center), or 10 (four corners and the center, then the same mirrored).
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
        """Suffix of a method's name in the signature of a run: empty for the usual 224."""
        return "" if self.signature == "224" else f"@{self.signature}"

    @property
    def crop_positions(self) -> tuple[tuple[int, int, bool], ...]:
        """Top, left, and whether the crop is mirrored, for every crop."""
        margin = self.side - self.crop
        center = (margin // 2, margin // 2)
        if self.count == 1:
            return ((*center, False),)
        positions = ((0, 0), (0, margin), (margin, 0), (margin, margin), center)
        return tuple((*position, mirrored) for mirrored in (False, True) for position in positions)

    def crops(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Cut squares ``(n, side, side, 3)`` into one array ``(n, crop, crop, 3)`` per crop position."""
        crops = [(pixels[:, y : y + self.crop, x : x + self.crop], mirrored) for y, x, mirrored in self.crop_positions]
        return [np.ascontiguousarray(crop[:, :, ::-1] if mirrored else crop) for crop, mirrored in crops]

    def assemble(
        self, maps: NDArray[np.float32], taps: Taps = linear_taps, absolute: bool = False, lowest: bool = False
    ) -> NDArray[np.float32]:
        """Add up the maps of the crops at the positions of the crops; zero where there is no crop.

        Args:
            maps: float32 ``(k, h, w)``, or ``(k, count, h, w)`` for several crops.
            taps: Interpolation that upsamples each crop's map to the crop's size.
            absolute: Whether absolute values are added.
            lowest: Whether the lowest value of a map replaces the zeros around a single crop, for a normalization that
                subtracts it: zero may be above all values of the map.

        Returns:
            float32 ``(k, h, w)``, the maps themselves, if the network saw the whole square; else ``(k, side, side)``,
            all zeros where the map of every crop is constant: the sum would show where crops overlap, not the object.
        """
        if self.crop == self.side:
            return maps
        views = maps if maps.ndim == 4 else maps[:, None]
        out = np.zeros((len(maps), self.side, self.side), np.float32)
        for i, (y, x, mirrored) in enumerate(self.crop_positions):
            large = resize(views[:, i], (self.crop, self.crop), taps)
            added = np.abs(large) if absolute else large
            if lowest and self.count == 1:
                out[:] = added.min(axis=(1, 2), keepdims=True)
                out[:, y : y + self.crop, x : x + self.crop] = 0
            out[:, y : y + self.crop, x : x + self.crop] += added[..., ::-1] if mirrored else added
        out[are_constant(views)] = 0
        return out


@dataclass(frozen=True)
class Window:
    """The part of an image that the frame of a protocol shows, in shares of the image; all of it by default."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def to_image(
        self, boxes: NDArray[np.float64], frame: tuple[float, float], size: tuple[float, float]
    ) -> NDArray[np.float64]:
        """Return boxes ``(..., 4)`` in pixels of the frame as boxes in pixels of the image; sizes are width, height."""
        offset = np.multiply([self.left, self.top], size)
        scale = np.multiply([self.right - self.left, self.bottom - self.top], size) / frame
        moved: NDArray[np.float64] = boxes * np.tile(scale, 2) + np.tile(offset, 2)
        return moved

    def uncrop(self, score_map: FloatArray) -> FloatArray:
        """Return a map ``(h, w)`` of the frame as one of the whole image, zero outside the frame."""
        height, width = score_map.shape[0] / (self.bottom - self.top), score_map.shape[1] / (self.right - self.left)
        rows = round(self.top * height), round((1 - self.bottom) * height)
        columns = round(self.left * width), round((1 - self.right) * width)
        if not any((*rows, *columns)):
            return score_map
        whole: FloatArray = np.pad(score_map, (rows, columns))  # type: ignore[assignment]  # its stub forgets the dtype
        return whole
