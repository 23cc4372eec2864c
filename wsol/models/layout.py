"""The layout of a layer's output: which axis holds the channels, and where the places of the image are."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wsol.models.places import PlaceTensor


@dataclass(frozen=True, eq=False)
class Layout:
    """Order of channels and places in the output of a layer, ``(n, ...)``.

    Attributes:
        channel_axis: Axis of the channels.
        grid: Height and width of the feature maps.
        axes: Sizes of the axes other than the first and that of the channels.
        places: Position of every place, row by row, along these axes, flattened; None where they are height and width
            themselves, for any size of image.
        others: Positions of what is not a place: class tokens and registers.
    """

    channel_axis: int
    grid: tuple[int, int]
    axes: tuple[int, ...]
    places: Tensor | None = None
    others: Tensor | None = None

    @property
    def has_others(self) -> bool:
        """True if some positions are not places."""
        return self.others is not None and len(self.others) > 0

    def to_maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split an output into feature maps ``(n, C, h, w)`` and what is not a place, ``(n, C, others)``."""
        output = output.movedim(self.channel_axis, 1)
        if self.places is None:
            return output, output[:0]
        flat = output.flatten(2)
        return _take(flat, self._places).reshape(*flat.shape[:2], *self.grid), _take(flat, self._others)

    def to_output(self, maps: Tensor, others: Tensor) -> Tensor:
        """Join feature maps and the rest into the output, the inverse of ``to_maps``."""
        if self.places is None:
            return maps.movedim(1, self.channel_axis)
        flat = maps.flatten(2)
        if self.has_others:
            flat = torch.cat([others, flat], 2)
        return _take(flat, self._order).reshape(*flat.shape[:2], *self.axes).movedim(1, self.channel_axis)

    def mark_places(self) -> Tensor:
        """Return a mask of the places that broadcasts to the output, bool ``(1, ...)``."""
        mask = torch.ones(self.axes, dtype=torch.bool, device="cpu")
        if self.others is not None:
            mask.view(-1)[self.others] = False
        return mask[None, None].movedim(1, self.channel_axis)

    @cached_property
    def _places(self) -> slice | Tensor:
        return _as_slice(self.places)

    @cached_property
    def _others(self) -> slice | Tensor:
        return _as_slice(self.others)

    @cached_property
    def _order(self) -> slice | Tensor:
        parts = [each for each in (self.others, self.places) if each is not None]
        return _as_slice(torch.cat(parts).argsort())


def find_layout(output: Any, images: int) -> Layout | None:
    """Find the layout of a layer's output; None if it has no feature maps, or their places are not known.

    An output has feature maps if the images are along its first axis, exactly one other axis has the same places
    throughout, which is that of the channels, and the places along the rest form a grid of at least 2 x 2 that covers
    the image.

    Args:
        output: Output of the layer for a batch of images wrapped by ``track_images``.
        images: Number of images in the batch, two or more.
    """
    if not isinstance(output, PlaceTensor) or output.dim() < 3 or output.shape[0] != images:
        return None
    ids = output.ids
    if ids.shape[0] != images or sum(size == 1 for size in ids.shape) != 1:
        return None
    boxes = output.tracker.find_boxes(ids)
    numbers, places = boxes[..., :2], boxes[..., 2:]
    own = torch.arange(images, dtype=boxes.dtype, device="cpu").reshape(-1, *[1] * ids.dim())
    if not ((numbers == own) | numbers.isnan()).all() or not places.isclose(places[:1], equal_nan=True).all():
        return None
    channel_axis = ids.shape.index(1)
    grid = _find_grid(places[0].reshape(-1, 4))
    if grid is None:
        return None
    size, positions, others = grid
    axes = tuple(length for axis, length in enumerate(output.shape) if axis not in (0, channel_axis))
    if axes == size and torch.equal(positions, torch.arange(len(positions), device="cpu")):
        return Layout(channel_axis, size, axes)
    return Layout(channel_axis, size, axes, positions, others)


_TOLERANCE = 1e-4  # of the image's side
_OFFSET = 0.3819660113  # centers at simple fractions of the side never lie where rounding flips


def _find_grid(boxes: Tensor) -> tuple[tuple[int, int], Tensor, Tensor] | None:
    """Return the size of a grid and the positions of its cells and of the rest, from boxes ``(positions, 4)``.

    What belongs to the whole image, or to none of it, is not a cell.
    """
    low, high = boxes[:, 0::2], boxes[:, 1::2]
    is_place = ((low > _TOLERANCE) | (high < 1 - _TOLERANCE)).any(1)
    places, others = is_place.nonzero()[:, 0], (~is_place).nonzero()[:, 0]
    if (high - low)[places].prod(1).sum() < 1 - 100 * _TOLERANCE:  # the places leave gaps
        return None
    centers = ((low + high) / 2)[places] / _TOLERANCE + _OFFSET
    (rows, row), (columns, column) = (torch.unique(centers[:, axis].round(), return_inverse=True) for axis in (0, 1))
    cell = row * len(columns) + column
    if min(len(rows), len(columns)) < 2 or len(rows) * len(columns) != len(places) or len(cell.unique()) != len(places):
        return None
    return (len(rows), len(columns)), places[cell.argsort()], others


def _as_slice(positions: Tensor | None) -> slice | Tensor:
    """Return positions as a slice where they are consecutive."""
    if positions is None or not len(positions):
        return slice(0, 0)
    first = int(positions[0])
    last = first + len(positions)
    return slice(first, last) if torch.equal(positions, torch.arange(first, last, device="cpu")) else positions


def _take(flat: Tensor, positions: slice | Tensor) -> Tensor:
    """Return positions of ``(n, C, positions)``; a view where they are consecutive."""
    return flat[..., positions] if isinstance(positions, slice) else flat.index_select(2, positions.to(flat.device))
