"""Resizing of score maps and masks."""

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import jit

CUBIC_A = np.float32(-0.75)


def bicubic(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize maps by bicubic convolution with a = -0.75, half-pixel centers and replicated borders.

    Equivalent to ``cv2.resize(INTER_CUBIC)`` and ``torch.nn.functional.interpolate(mode="bicubic")`` (Keys, "Cubic
    convolution interpolation for digital image processing", 1981, eq. 4), horizontally first, in float32; the order of
    additions is fixed, so the bits do not depend on threads.

    Args:
        maps: float32 ``(n, h, w)``.
        size: Target ``(height, width)``.

    Returns:
        float32 ``(n, height, width)``; a copy of ``maps`` if it has this size already.
    """
    height, width = size
    out = np.empty((len(maps), height, width), np.float32)
    _resize_cubic(
        np.ascontiguousarray(maps), *cubic_taps(maps.shape[1], height), *cubic_taps(maps.shape[2], width), out
    )
    return out


def bilinear(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize maps by linear interpolation along both axes, with half-pixel centers and replicated borders.

    Equivalent to ``cv2.resize(INTER_LINEAR)`` and ``torch.nn.functional.interpolate(mode="bilinear")``, horizontally
    first, in float32.

    Args:
        maps: float32 ``(n, h, w)``.
        size: Target ``(height, width)``.

    Returns:
        float32 ``(n, height, width)``; a copy of ``maps`` if it has this size already.
    """
    height, width = size
    out = np.empty((len(maps), height, width), np.float32)
    _resize_linear(
        np.ascontiguousarray(maps), *_linear_taps(maps.shape[1], height), *_linear_taps(maps.shape[2], width), out
    )
    return out


def nearest(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask ``(h, w)`` to ``(height, width)``: a pixel takes the value at ``floor(index * h / height)``.

    Equivalent to ``cv2.resize(INTER_NEAREST)``.
    """
    rows, columns = (
        np.minimum((np.arange(target) * (source / target)).astype(np.int64), source - 1)
        for source, target in zip(mask.shape, size, strict=True)
    )
    resized: NDArray[np.bool_] = mask[rows[:, None], columns]
    return resized


@cache
def cubic_taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the four source indices of each target index and their weights, both ``(target, 4)``."""
    center = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.floor(center)
    t = (center - first).astype(np.float32)[:, None]
    distance = np.abs(t - np.arange(-1, 3, dtype=np.float32))
    near = ((CUBIC_A + 2) * distance - (CUBIC_A + 3)) * distance * distance + 1
    far = ((CUBIC_A * distance - 5 * CUBIC_A) * distance + 8 * CUBIC_A) * distance - 4 * CUBIC_A
    weights = np.where(distance <= 1, near, far)
    indices = np.clip(first[:, None].astype(np.int64) + np.arange(-1, 3), 0, source - 1)
    return indices, weights


@lru_cache(maxsize=4096)  # images of a data set come in many sizes
def _linear_taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the two source indices of each target index, ``(target, 2)``, and the weight of the second."""
    center = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    first = np.minimum(np.floor(center).astype(np.int64), source - 1)
    indices = np.stack([first, np.minimum(first + 1, source - 1)], 1)
    return indices, (center - first).astype(np.float32)


@jit
def _resize_cubic(
    maps: NDArray[np.float32],
    rows: NDArray[np.int64],
    row_weights: NDArray[np.float32],
    columns: NDArray[np.int64],
    column_weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    n, h, _ = maps.shape
    _, height, width = out.shape
    stretched = np.empty((h, width), np.float32)
    for m in range(n):
        for y in range(h):
            for x in range(width):
                stretched[y, x] = (
                    column_weights[x, 0] * maps[m, y, columns[x, 0]]
                    + column_weights[x, 1] * maps[m, y, columns[x, 1]]
                    + column_weights[x, 2] * maps[m, y, columns[x, 2]]
                    + column_weights[x, 3] * maps[m, y, columns[x, 3]]
                )
        for y in range(height):
            a, b, c, d = rows[y]
            for x in range(width):
                out[m, y, x] = (
                    row_weights[y, 0] * stretched[a, x]
                    + row_weights[y, 1] * stretched[b, x]
                    + row_weights[y, 2] * stretched[c, x]
                    + row_weights[y, 3] * stretched[d, x]
                )


@jit
def _resize_linear(
    maps: NDArray[np.float32],
    rows: NDArray[np.int64],
    row_weights: NDArray[np.float32],
    columns: NDArray[np.int64],
    column_weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    n, h, _ = maps.shape
    _, height, width = out.shape
    stretched = np.empty((h, width), np.float32)
    for m in range(n):
        for y in range(h):
            for x in range(width):
                t = column_weights[x]
                stretched[y, x] = (np.float32(1) - t) * maps[m, y, columns[x, 0]] + t * maps[m, y, columns[x, 1]]
        for y in range(height):
            a, b = rows[y]
            t = row_weights[y]
            for x in range(width):
                out[m, y, x] = (np.float32(1) - t) * stretched[a, x] + t * stretched[b, x]
