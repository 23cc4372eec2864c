"""Boxes of a batch of images, by id: the places that the elements of tensors belong to."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

_EPSILON = 1e-5  # of the image's side: differences up to it are those of rounding
_STEP = 1e-7  # boxes that differ by less are one
_OFFSET = 0.3819660113  # simple fractions of the side never lie where rounding flips


class PlaceTracker:
    """Ids for boxes of a batch of images; rows are image (from, to), y (from, to) and x (from, to), both in [0, 1].

    The id 0 is that of what does not depend on the image.

    Attributes:
        lost: Whether an operation wrote into a tensor whose places are not followed.
    """

    def __init__(self) -> None:
        self.lost = False
        self._boxes = np.full((1, 6), np.nan)  # by id
        self._keys = np.empty(0, np.uint64)  # of all boxes, ascending
        self._ids = np.empty(0, np.int64)  # in the order of the keys

    def intern(self, boxes: Tensor) -> Tensor:
        """Return the ids ``(...)`` of boxes ``(..., 6)``; those of equal boxes are equal."""
        rows = boxes.reshape(-1, 6).numpy()
        ids = np.zeros(len(rows), np.float32)
        labeled = ~np.isnan(rows[:, 0])
        digits = np.rint(rows[labeled] / _STEP + _OFFSET).astype(np.uint64)
        unique, first, inverse = np.unique(digits @ _HASH, return_index=True, return_inverse=True)
        new = ~np.isin(unique, self._keys, assume_unique=True)
        if new.any():
            numbers = np.arange(new.sum()) + len(self._boxes)
            self._boxes = np.concatenate([self._boxes, rows[labeled][first[new]]])
            keys, ids_of_keys = np.append(self._keys, unique[new]), np.append(self._ids, numbers)
            order = keys.argsort()
            self._keys, self._ids = keys[order], ids_of_keys[order]
        ids[labeled] = self._ids[np.searchsorted(self._keys, unique)][inverse.reshape(-1)]
        return torch.from_numpy(ids).reshape(boxes.shape[:-1])

    def find_boxes(self, ids: Tensor) -> Tensor:
        """Return the boxes ``(..., 6)`` of ids ``(...)``, NaN for those of nothing, 0."""
        return torch.from_numpy(self._boxes[ids.long().numpy()])

    def hull(self, ids: Tensor, dims: Iterable[int]) -> Tensor:
        """Return the ids of the smallest boxes around those along dimensions, which keep a size of 1."""
        axes = [dim for dim in dims if ids.shape[dim] > 1]
        if not axes:
            return ids
        boxes = self.find_boxes(ids)
        low = boxes[..., 0::2].nan_to_num(np.inf).amin(axes, keepdim=True)
        high = boxes[..., 1::2].nan_to_num(-np.inf).amax(axes, keepdim=True)
        joined = torch.stack([low, high], -1).flatten(-2)
        return self.intern(joined.masked_fill(joined.isinf(), np.nan))

    def join(self, one: Tensor, other: Tensor, prefer_second: bool = False) -> Tensor:
        """Return the ids of elements that combine two places.

        A global value that modulates a map does not move the map: a box inside the other is taken. Boxes that overlap
        by most of the smaller one are joined; others belong to the image as a whole.

        Args:
            one: Ids, with as many dimensions as ``other``.
            other: Ids.
            prefer_second: Whether the second box is taken where neither is inside the other.
        """
        if one is other or not other.any() or (one.shape == other.shape and torch.equal(one, other)):
            return one
        if not one.any():
            return other
        shape = tuple(map(max, one.shape, other.shape))
        a, b = (self.find_boxes(each).expand(*shape, 6) for each in (one, other))
        (a_low, a_high), (b_low, b_high) = ((x[..., 0::2], x[..., 1::2]) for x in (a, b))
        a_inside = ((a_low > b_low - _EPSILON) & (a_high < b_high + _EPSILON)).all(-1, keepdim=True)
        b_inside = ((b_low > a_low - _EPSILON) & (b_high < a_high + _EPSILON)).all(-1, keepdim=True)
        low, high = torch.minimum(a_low, b_low), torch.maximum(a_high, b_high)
        shared = torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)
        apart = shared < torch.minimum(a_high - a_low, b_high - b_low) / 2 - _EPSILON
        apart = apart.any(-1, keepdim=True)
        low[..., 1:], high[..., 1:] = low[..., 1:].masked_fill(apart, 0), high[..., 1:].masked_fill(apart, 1)
        both = torch.stack([low, high], -1).flatten(-2)
        joined = torch.where(b_inside, b, b if prefer_second else both)
        joined = torch.where(a_inside | b.isnan(), a, joined)
        return minimize(self.intern(torch.where(a.isnan(), b, joined)))

    def resample(self, ids: Tensor, dim: int, size: int) -> Tensor:
        """Return the ids after an operation on windows along a dimension, such as a convolution.

        The boxes of neighbors adjoin or overlap, and are divided evenly among the outputs; where they do not, windows
        mix whatever they cover.
        """
        if ids.shape[dim] in (1, size):
            return ids
        placed = (ids != 0).movedim(dim, 0).flatten(1).any(1)
        if placed.any():  # padding makes room for windows and has no place
            start, end = (int(each) for each in placed.nonzero()[[0, -1], 0])
            ids = ids.narrow(dim, start, end + 1 - start)
        length = ids.shape[dim]
        if length in (1, size):
            return ids
        boxes = self.find_boxes(ids).movedim(dim, -2)
        low, high = boxes[..., 0::2], boxes[..., 1::2]
        steps = (low[..., 1:, :] - low[..., :-1, :], high[..., 1:, :] - high[..., :-1, :])
        gaps = low[..., 1:, :] - high[..., :-1, :]
        if any((step <= -_EPSILON).any() for step in steps) or (gaps >= _EPSILON).any():
            return self.hull(ids, [dim])
        edges = arange(size + 1) * (length / size)
        first, last = low[..., :1, :], high[..., -1:, :]
        fixed = (low[..., -1:, :] - first < _EPSILON) & (last - high[..., :1, :] < _EPSILON)  # across the dimension
        before, after = torch.where(fixed, high[..., :1, :], first), torch.where(fixed, low[..., -1:, :], last)
        low = _interpolate(torch.cat([low, after], -2), edges[:-1])
        high = _interpolate(torch.cat([before, high], -2), edges[1:])
        return self.intern(torch.stack([low, high], -1).flatten(-2).movedim(-2, dim))


_HASH = np.random.default_rng(0).integers(1, 2**63, 6, np.uint64)  # one factor for each column of a box


def minimize(ids: Tensor) -> Tensor:
    """Return ids of size 1 in every dimension that they do not depend on."""
    for dim in range(ids.dim()):
        if ids.shape[dim] > 1 and ids.numel():
            first = ids.narrow(dim, 0, 1)
            # Most tensors that vary do so from the first element to the second.
            if torch.equal(first, ids.narrow(dim, 1, 1)) and bool((ids == first).all()):
                ids = first
    return ids


def arange(count: int) -> Tensor:
    """Return 0 to count - 1 on the CPU, whatever the default device is."""
    return torch.arange(count, device="cpu")


def _interpolate(values: Tensor, positions: Tensor) -> Tensor:
    """Interpolate values ``(..., n, 3)`` at positions from 0 to n - 1, linearly."""
    before = positions.floor().long().clamp(0, values.shape[-2] - 1)
    after = (before + 1).clamp(max=values.shape[-2] - 1)
    part = (positions - before)[:, None]
    return values[..., before, :] * (1 - part) + values[..., after, :] * part
