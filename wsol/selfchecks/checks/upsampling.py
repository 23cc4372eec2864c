"""Resizing of ramps and single pixels, whose values are known everywhere."""

import numpy as np

from wsol.boxes.resize import bicubic, bilinear, cubic_taps, linear_taps, nearest, resize_and_normalize
from wsol.datasets import Sample, read_batches
from wsol.datasets.base import as_boxes
from wsol.selfchecks.expect import assert_close
from wsol.selfchecks.outcome import Checks

# A pixel of 1 on a line that is upsampled by 2, in 1024ths: Keys' kernel with a = -0.75 at the distances 1.75, 1.25,
# 0.75, 0.25 and back.
PULSE = np.array([-36, -108, 268, 900, 900, 268, -108, -36]) / 1024


def _check_ramp() -> None:
    rows, columns = np.mgrid[:14, :9]
    small = (3 * rows - 2 * columns).astype(np.float32)
    # Half-pixel centers; the border is repeated beyond the outermost centers.
    down = np.clip((np.arange(224) + 0.5) * 14 / 224 - 0.5, 0, 13)
    across = np.clip((np.arange(300) + 0.5) * 9 / 300 - 0.5, 0, 8)
    assert_close(bilinear(small[None], (224, 300))[0], 3 * down[:, None] - 2 * across, 1e-4, "the value")


def _check_pulse() -> None:
    small = np.zeros((1, 8, 12), np.float32)
    small[0, 4, 6] = 1
    large = np.zeros((16, 24))
    large[5:13, 9:17] = np.outer(PULSE, PULSE)
    assert_close(bicubic(small, (16, 24))[0], large, 0, "the value")  # all sums are exact in binary


def _check_constant() -> None:
    flat = np.full((1, 7, 7), 0.3, np.float32)
    assert_close(bicubic(flat, (224, 224)), 0.3, 1e-6, "the value")
    assert_close(bilinear(flat, (224, 224)), 0.3, 1e-6, "the value")


def _check_flat() -> None:
    """Check that a ramp of 0.01 around 1,000 is the ramp that its numbers in single precision are, not noise."""
    ramp = (1000 + np.linspace(0, 0.01, 14)).astype(np.float32)
    steps = np.broadcast_to(np.round((ramp.astype(np.float64) - 1000) * 2**14), (14, 14))  # its numbers are k / 2^14
    for taps in (linear_taps, cubic_taps):
        flat = resize_and_normalize(np.broadcast_to(ramp, (1, 14, 14)), (224, 224), taps)
        assert_close(flat[0], resize_and_normalize(steps[None], (224, 224), taps)[0], 0, "the value")


def _check_mask() -> None:
    small = np.array([[True, False, False], [False, False, True]])
    # floor(place * 3 / 7): 0 0 0 1 1 2 2
    large = [[1, 1, 1, 0, 0, 0, 0]] * 2 + [[0, 0, 0, 0, 0, 1, 1]] * 2
    assert_close(nearest(small, (4, 7)), large, 0, "the pixel")


def _check_image() -> None:
    rows, columns = np.mgrid[:448, :448] // 2
    ramps = np.stack([columns, rows, np.full_like(rows, 7)], 2).astype(np.uint8)
    sample = Sample("ramps", 0, as_boxes([[0, 0, 1, 1]]), "edges", render=lambda: ramps)
    (batch,) = read_batches([sample], 224, 1, 1, False)
    # A triangle filter over four pixels, 1 3 3 1, symmetric about the center pixel of a ramp.
    expected = np.stack(np.broadcast_arrays(np.arange(224), np.arange(224)[:, None], 7), 2)
    assert_close(batch.pixels[0], expected, 0, "the pixel")


CHECKS: Checks = {
    "upsampling: a ramp, bilinear": _check_ramp,
    "upsampling: one pixel, bicubic": _check_pulse,
    "upsampling: a constant": _check_constant,
    "upsampling: small differences of large numbers": _check_flat,
    "upsampling: a mask, nearest": _check_mask,
    "images: a ramp resized to 224 x 224": _check_image,
}
