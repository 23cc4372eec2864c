"""The CAM paper's protocol on maps whose boxes are known."""

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.protocols import find_protocol
from wsol.selfchecks import shapes
from wsol.selfchecks.expect import Checks, assert_close, assert_equal


def _boxes(score_map: shapes.Map, name: str = "zhou2016") -> NDArray[np.float64]:
    """Return the box at tau = 0, 0.01, ..., 0.99; or the one of the script."""
    protocol = find_protocol(name)
    boxes: NDArray[np.float64] = protocol.boxes(protocol.prepare(score_map[None], (224, 224)), protocol.taus)[0]
    return boxes


def _single() -> None:
    assert_close(_boxes(shapes.rectangles(((40, 60, 140, 120), 8))), (40, 60, 140, 120), 0, "the rectangle's box")
    assert_close(_boxes(shapes.disc()), (70, 60, 131, 121), 0, "the disc's box")
    assert_close(
        _boxes(shapes.ring_and_block()), (120, 100, 140, 120), 0, "the box of the block, which has more pixels,"
    )


def _share() -> None:
    """The threshold is a share of the maximum, strictly; what lies below zero moves nothing."""
    boxes = _boxes(shapes.rectangles(((20, 30, 40, 50), 16), ((100, 90, 160, 130), 4), ((0, 0, 5, 5), -90)))
    assert_close(boxes[:25], (100, 90, 160, 130), 0, "the box of the large blob")
    assert_close(boxes[25:], (20, 30, 40, 50), 0, "the box of the small blob")


def _nothing() -> None:
    assert_close(_boxes(np.full((224, 224), 3, np.float32)), (0, 0, 224, 224), 0, "the box of a map of threes")
    below = {"below zero": np.full((224, 224), -1, np.float32)}
    for name, score_map in (shapes.without_signal() | below).items():
        assert_close(_boxes(score_map), (0, 0, 0, 0), 0, f"the box of a map {name}")


def _truth() -> None:
    protocol = find_protocol("zhou2016")
    sample = Sample("a", 0, as_boxes([[50, 60, 69, 79]]), "inclusive", size=(224, 224))
    prepared = protocol.prepare(shapes.rectangles(((55, 60, 75, 80), 1))[None], (224, 224))
    trace = protocol.score_map_stats(prepared[0], protocol.ground_truth(sample, (224, 224)))
    assert_close(trace.curve, 15 * 20 / (25 * 20), 1e-6, "the IoU")  # both 20 x 20, five pixels apart


def _script() -> None:
    """What stays of a mask lies more than ten pixels from its background: of a rectangle, ten less on each side."""
    score_map = shapes.rectangles(((20, 30, 140, 110), 10), ((150, 120, 210, 200), 7))
    assert_close(_boxes(score_map, "zhou2016:box=script"), [[30, 40, 130, 100]], 0, "the first box")
    protocol = find_protocol("zhou2016:box=script")
    trace = protocol.score_map_stats(
        protocol.prepare(score_map[None], (224, 224))[0], np.array([[160.0, 130, 200, 190]])
    )
    assert_equal(trace.second is None, False, "the second box is missing:")
    assert_close(trace.curve, [0], 0, "the IoU of the first box")
    assert_close(np.asarray(trace.second), [1], 0, "the IoU of the second box")


def _crops() -> None:
    """Ten crops of 224 in 256; the left halves of the maps are one, and the right halves of the mirrored five."""
    maps = np.zeros((1, 10, 8, 8), np.float32)
    maps[0, :5, :, :4] = maps[0, 5:, :, 4:] = 1
    whole = find_protocol("zhou2016").view.assemble(maps)[0]
    assert_equal(whole.shape, (256, 256), "the size")
    found = [whole[0, 0], whole[20, 20], whole[128, 60], whole[128, 200], whole[255, 0]]
    # The first and the last pixel lie in one place and its mirrored twin, (20, 20) in the centre's too.
    assert_close(found, (2, 4, 10, 0, 2), 1e-5, "the sums at five places")


CHECKS: Checks = {
    "zhou2016: a rectangle, a disc, most pixels": _single,
    "zhou2016: a share of the maximum": _share,
    "zhou2016: constant maps and NaN": _nothing,
    "zhou2016: IoU of inclusive corners": _truth,
    "zhou2016: the two boxes of the script": _script,
    "zhou2016: ten crops put together": _crops,
}
