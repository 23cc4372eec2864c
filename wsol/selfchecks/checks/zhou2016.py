"""The protocol of the CAM paper on maps with known boxes."""

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.protocols import find_protocol
from wsol.selfchecks import shapes
from wsol.selfchecks.expect import assert_close, assert_equal
from wsol.selfchecks.outcome import Checks


def _find_boxes(score_map: shapes.Map, name: str = "zhou2016") -> NDArray[np.float64]:
    """Return the box at tau = 0, 0.01, ..., 0.99, or the box of the script."""
    protocol = find_protocol(name)
    boxes: NDArray[np.float64] = protocol.boxes(protocol.prepare(score_map[None], (224, 224)), protocol.taus)[0]
    return boxes


def _check_shapes() -> None:
    assert_close(_find_boxes(shapes.rectangles(((40, 60, 140, 120), 8))), (40, 60, 140, 120), 0, "the rectangle's box")
    assert_close(_find_boxes(shapes.disc()), (70, 60, 131, 121), 0, "the disc's box")
    assert_close(
        _find_boxes(shapes.ring_and_block()), (120, 100, 140, 120), 0, "the box of the block, which has more pixels,"
    )


def _check_share() -> None:
    """Check that pixels are above a share of the maximum, strictly, and that negative values have no effect."""
    boxes = _find_boxes(shapes.rectangles(((20, 30, 40, 50), 16), ((100, 90, 160, 130), 4), ((0, 0, 5, 5), -90)))
    assert_close(boxes[:25], (100, 90, 160, 130), 0, "the box of the large blob")
    assert_close(boxes[25:], (20, 30, 40, 50), 0, "the box of the small blob")


def _check_no_signal() -> None:
    negative = {"of negative values": -1 - shapes.disc()}
    for name, score_map in (shapes.maps_without_signal() | negative).items():
        assert_close(_find_boxes(score_map), (0, 0, 0, 0), 0, f"the box of a map {name}")


def _check_ground_truth() -> None:
    protocol = find_protocol("zhou2016")
    sample = Sample("a", 0, as_boxes([[50, 60, 69, 79]]), "inclusive", size=(224, 224))
    prepared = protocol.prepare(shapes.rectangles(((55, 60, 75, 80), 1))[None], (224, 224))
    stats = protocol.score_map_stats(prepared[0], protocol.ground_truth(sample, (224, 224)))
    assert_close(stats.curve, 15 * 20 / (25 * 20), 1e-6, "the IoU")  # both 20 x 20, five pixels apart


def _check_script() -> None:
    """Check that the script keeps what is more than 10 / 255 of the largest distance away from the background.

    The large blob is 80 pixels high, so the largest distance is 40; the distance 1 is 255 / 40 = 6.4, and 2 is 12.8:
    one pixel goes on each side. 89 of 255 is in the lowest mask only.
    """
    name = "zhou2016:box=script,jpeg=0"
    score_map = shapes.rectangles(((20, 30, 140, 110), 0.35), ((150, 120, 210, 200), 1))
    assert_close(_find_boxes(score_map, name), [[21, 31, 140, 110]], 0, "the first box")
    protocol = find_protocol(name)
    truth = np.array([[151.0, 121, 210, 200]])
    stats = protocol.score_map_stats(protocol.prepare(score_map[None], (224, 224))[0], truth)
    assert_equal(stats.second is None, False, "the second box is missing:")
    assert_close(stats.curve, [0], 0, "the IoU of the first box")
    assert_close(np.asarray(stats.second), [1], 0, "the IoU of the second box")


def _check_crops() -> None:
    """Check ten crops of 224 in 256: the left halves of the maps are one, and the right halves of the mirrored five."""
    maps = np.zeros((1, 10, 8, 8), np.float32)
    maps[0, :5, :, :4] = maps[0, 5:, :, 4:] = 1
    assembled = find_protocol("zhou2016").view.assemble(maps)[0]
    assert_equal(assembled.shape, (256, 256), "the size")
    found = [assembled[y, x] for y, x in ((0, 0), (20, 20), (128, 60), (128, 200), (255, 0))]
    # The first and the last pixel are in one crop and its mirror image, (20, 20) is in the center crop too.
    assert_close(found, (2, 4, 10, 0, 2), 1e-5, "the sums at five places")


CHECKS: Checks = {
    "zhou2016: a rectangle, a disc, the largest component": _check_shapes,
    "zhou2016: tau as a share of the maximum": _check_share,
    "zhou2016: constant maps and NaN": _check_no_signal,
    "zhou2016: IoU of inclusive corners": _check_ground_truth,
    "zhou2016: the two boxes of the script": _check_script,
    "zhou2016: assembly of ten crops": _check_crops,
}
