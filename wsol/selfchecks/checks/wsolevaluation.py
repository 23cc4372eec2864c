"""The protocol of Choe et al. on maps with known boxes: a box is ``x, y, x + w, y + h``, taken as inclusive."""

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.base import METRICS, LocalizationStats
from wsol.protocols import find_protocol
from wsol.selfchecks import shapes
from wsol.selfchecks.expect import assert_close, assert_equal
from wsol.selfchecks.outcome import Checks

_SQUARE = (224, 224)


def _find_boxes(score_map: shapes.Map) -> NDArray[np.float64]:
    """Return the box at every tau, half-open edges ``(1000, 4)``."""
    protocol = find_protocol("wsolevaluation")
    boxes: NDArray[np.float64] = protocol.boxes(protocol.prepare(score_map[None], _SQUARE), protocol.taus)[0]
    return boxes


def _check_rectangle() -> None:
    boxes = _find_boxes(shapes.rectangles(((40, 60, 140, 120), 1)))
    assert_equal(len(boxes), 1000, "this many taus:")
    assert_close(boxes, (40, 60, 141, 121), 0, "the box")  # one pixel more than the rectangle, as in their code
    assert_close(
        _find_boxes(shapes.rectangles(((190, 200, 224, 224), 1))), (190, 200, 224, 224), 0, "the box at the border"
    )


def _check_disc() -> None:
    assert_close(_find_boxes(shapes.disc()), (70, 60, 132, 122), 0, "the box")


def _check_blobs() -> None:
    boxes = _find_boxes(shapes.two_blobs())
    # trunc(255 / 2) = 127 is above trunc(255 tau) up to tau = 126.99 / 255
    assert_close(boxes[:499], (100, 90, 161, 131), 0, "the box of the large blob")
    assert_close(boxes[499:], (20, 30, 41, 51), 0, "the box of the small blob")


def _check_contours() -> None:
    assert_close(
        _find_boxes(shapes.touching_squares()), (50, 60, 91, 101), 0, "one box of squares that touch at a corner,"
    )
    assert_close(_find_boxes(shapes.ring_and_block()), (30, 30, 71, 71), 0, "the box of the ring, whose hole is area,")
    line = shapes.rectangles(((10, 10, 200, 11), 1), ((50, 80, 52, 82), 1))
    assert_close(_find_boxes(line), (50, 80, 53, 83), 0, "the box of the square, as a line has no area,")


def _check_no_signal() -> None:
    for name, score_map in shapes.maps_without_signal().items():
        assert_close(_find_boxes(score_map), (0, 0, 1, 1), 0, f"the box of a map {name}")


def _check_order() -> None:
    """Check that upsampling precedes normalization: a pixel of 1 becomes 900 / 1024, next to -108 / 1024."""
    small = np.zeros((1, 112, 112), np.float32)
    small[0, 50, 60] = 1
    prepared = find_protocol("wsolevaluation").prepare(small, _SQUARE)[0]
    assert_close(prepared[0, 0], 900 * 108 / (900 * 900 + 900 * 108), 1e-6, "the background")
    assert_close([prepared.min(), prepared.max()], (0, 1), 0, "the range")


def _check_ground_truth() -> None:
    sample = Sample("a", 0, as_boxes([[50, 30, 500, 100], [0, 0, 499, 375]]), "inclusive", size=(500, 375))
    # times 224 / 500 and 224 / 375: 22.4 17.92 223.55 (of 499) 59.73; 0 0 223.55 223.40 (of 374)
    expected = [[22, 17, 224, 60], [0, 0, 224, 224]]
    assert_close(find_protocol("wsolevaluation").ground_truth(sample, (500, 375)), expected, 0, "the edges")


def _check_curves() -> None:
    protocol = find_protocol("wsolevaluation")
    ring = shapes.rectangles(((50, 50, 110, 110), 1), ((60, 60, 100, 100), 0))
    # The hole's contour runs over the pixels 59 to 100 around it; as a box that is 59 to 101, inclusive.
    truth = np.array([[59.0, 59, 102, 102]])
    stats = protocol.score_map_stats(protocol.prepare(ring[None], _SQUARE)[0], truth)
    assert_close(stats.curve, 43**2 / 61**2, 1e-6, "the IoU of the largest contour")
    assert_equal(stats.contours is None, False, "contours are missing:")
    assert_close(np.asarray(stats.contours), 1, 0, "the IoU of the best contour")
    assert_equal(stats.peak_inside, False, "the peak, pixel (50, 50), is inside:")


def _check_pixels() -> None:
    """Check PxAP on 16 blocks: 1 foreground block scores 1, 2 and 1 of the background 0.6, 1 and 11 others 0.2."""
    scores, foreground, ignored = np.full((4, 4), 0.2, np.float32), np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    scores[0, 0], scores[1, :3] = 1, 0.6
    foreground[0, 0] = foreground[1, 1] = foreground[1, 2] = foreground[3, 3] = True
    ignored[2] = ignored[3, 2:] = True  # six blocks; the one of the object counts all the same
    protocol = find_protocol("wsolevaluation:step=0.5")
    large = np.kron(scores, np.ones((56, 56), np.float32))
    metric = METRICS.get("pxap")
    for ignore, area in ((np.zeros((4, 4), bool), 1 / 4 + 3 / 8 + 1 / 16), (ignored, 1 / 4 + 3 / 8 + 4 / 11 / 4)):
        mask = Mask(foreground, ignore)
        counts = protocol.count_pixels(large, lambda mask=mask: mask)  # type: ignore[misc]  # bound now
        assert_equal(counts is None, False, "pixels are missing:")
        stats = LocalizationStats(
            np.zeros((1, 2), np.float32), 0.5, np.zeros(1, np.int64), pixels=np.asarray(counts)[None]
        )
        assert_equal(metric.aggregate is None, False, "the aggregate is missing:")
        if metric.aggregate is not None:
            assert_close(metric.aggregate(metric.per_image(stats).mean(0)), area, 1e-9, "PxAP")


CHECKS: Checks = {
    "wsolevaluation: a rectangle": _check_rectangle,
    "wsolevaluation: a disc": _check_disc,
    "wsolevaluation: two blobs": _check_blobs,
    "wsolevaluation: the largest contour": _check_contours,
    "wsolevaluation: constant maps and NaN": _check_no_signal,
    "wsolevaluation: upsampling, then normalization": _check_order,
    "wsolevaluation: ground truth": _check_ground_truth,
    "wsolevaluation: IoU of the largest and of all contours": _check_curves,
    "wsolevaluation: PxAP with and without ignored pixels": _check_pixels,
}
