"""Integer rasterization: the same pixels on every machine, in about a millisecond per image."""

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import jit

ELLIPSE, BLOCK, WEDGE, CROSS, SQUARE, DIAMOND, EVERYWHERE = range(7)

Ints = NDArray[np.int64]


@jit
def paint(
    canvas: NDArray[np.uint8],
    layers: NDArray[np.uint8],
    layer: int,
    shape: int,
    frame: Ints,
    window: Ints,
    texture: NDArray[np.uint8],
    grain: Ints,
    gain: int,
) -> None:
    """Paint a textured shape and mark its pixels.

    Args:
        canvas: uint8 ``(h, w, 3)``, modified in place.
        layers: uint8 ``(h, w)``, set to ``layer`` inside the shape.
        layer: Number of the shape.
        shape: One of the constants above; all but ``EVERYWHERE`` are within [-1, 1]^2 in the shape's coordinates.
        frame: ``(ux, uy, u0, vx, vy, v0)`` in units of 2^-20: pixel ``(x, y)`` has the shape coordinates
            ``u = ux x + uy y + u0`` and ``v = vx x + vy y + v0``.
        window: ``(x0, y0, x1, y1)``, the pixels to visit, half-open.
        texture: uint8 ``(th, tw, 3)``, extended by mirroring.
        grain: Like ``frame``, in units of 2^-16: the position in the texture, in its pixels; interpolated bilinearly.
        gain: Brightness factor of the texture, in units of 1/256.
    """
    height, width = texture.shape[:2]
    flat = texture.ravel()
    ux, uy, u0, vx, vy, v0 = frame
    sx, sy, s0, tx, ty, t0 = grain
    for y in range(window[1], window[3]):
        for x in range(window[0], window[2]):
            if not _is_inside(shape, (ux * x + uy * y + u0) >> 10, (vx * x + vy * y + v0) >> 10):
                continue
            layers[y, x] = layer
            s, t = sx * x + sy * y + s0, tx * x + ty * y + t0
            fs, ft = (s >> 8) & 255, (t >> 8) & 255
            c0, c1 = 3 * _mirror_index(s >> 16, width), 3 * _mirror_index((s >> 16) + 1, width)
            r0, r1 = 3 * width * _mirror_index(t >> 16, height), 3 * width * _mirror_index((t >> 16) + 1, height)
            w00, w01, w10, w11 = (256 - fs) * (256 - ft), fs * (256 - ft), (256 - fs) * ft, fs * ft
            for k in range(3):
                value = flat[r0 + c0 + k] * w00 + flat[r0 + c1 + k] * w01
                value += flat[r1 + c0 + k] * w10 + flat[r1 + c1 + k] * w11
                canvas[y, x, k] = min((value * gain) >> 24, 255)


@jit
def _is_inside(shape: int, u: int, v: int) -> bool:
    """Return whether a point is inside a shape; ``u`` and ``v`` in units of 1/1024."""
    one = 1024
    inside = -one <= u <= one and -one <= v <= one
    if shape == ELLIPSE:
        inside = u * u + v * v <= one * one
    elif shape == BLOCK and inside:
        inside = u * u * u * u + v * v * v * v <= one * one * one * one
    elif shape == WEDGE:
        inside = inside and 2 * abs(v) <= u + one
    elif shape == CROSS:
        inside = inside and min(abs(u), abs(v)) <= 430
    elif shape == DIAMOND:
        inside = abs(u) + abs(v) <= one
    return inside or shape == EVERYWHERE


@jit
def _mirror_index(i: int, n: int) -> int:
    while not 0 <= i < n:
        i = -1 - i if i < 0 else 2 * n - 1 - i
    return i


@jit
def light(canvas: NDArray[np.uint8], gains: Ints, slope: Ints, noise: int, key: int) -> None:
    """Light a scene and add sensor noise, in place.

    Args:
        canvas: uint8 ``(h, w, 3)``.
        gains: Factors of red, green and blue at the top-left pixel, in units of 2^-16.
        slope: Increase of the factors per pixel to the right and down, in units of 2^-16.
        noise: Largest deviation of the noise, in gray values; its distribution is triangular.
        key: Start of the stream of random numbers.
    """
    height, width = canvas.shape[:2]
    state = np.uint64(key)
    for y in range(height):
        for x in range(width):
            state += np.uint64(0x9E3779B97F4A7C15)  # splitmix64
            z = state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
            increase = slope[0] * x + slope[1] * y
            for k in range(3):
                a = np.int64((z >> np.uint64(16 * k)) & np.uint64(255))
                b = np.int64((z >> np.uint64(16 * k + 8)) & np.uint64(255))
                value = ((np.int64(canvas[y, x, k]) * (gains[k] + increase)) >> 16) + (((a + b - 255) * noise) >> 8)
                canvas[y, x, k] = min(max(value, 0), 255)
