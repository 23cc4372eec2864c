"""The protocol ``crop224`` on maps with known boxes: center crops, and one box for all predictions."""

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.base import METRICS
from wsol.protocols import find_protocol
from wsol.selfchecks import shapes
from wsol.selfchecks.expect import assert_close, assert_equal
from wsol.selfchecks.outcome import Checks

_IMAGE = (256, 256)


def _find_boxes(score_map: shapes.Map, paper: str = "bas") -> NDArray[np.float64]:
    """Return the box at tau = 0, 0.01, ..., 0.99."""
    protocol = find_protocol(f"crop224:paper={paper}")
    boxes: NDArray[np.float64] = protocol.boxes(protocol.prepare(score_map[None], _IMAGE), protocol.taus)[0]
    return boxes


def _check_boxes() -> None:
    rectangle, ring = shapes.rectangles(((40, 60, 140, 120), 1)), shapes.ring_and_block()
    assert_close(_find_boxes(rectangle), (40, 60, 141, 121), 0, "the box")  # x + w is an inclusive corner
    assert_close(_find_boxes(rectangle, "spol"), (40, 60, 140, 120), 0, "the box of paper=spol")
    assert_close(_find_boxes(ring), (120, 100, 141, 121), 0, "the box of the block, which has more pixels,")
    assert_close(_find_boxes(ring, "spol"), (30, 30, 70, 70), 0, "the box of the ring, whose contour is larger,")


def _check_no_signal() -> None:
    for name, score_map in shapes.maps_without_signal().items():
        assert_close(_find_boxes(score_map), (0, 0, 225, 225), 0, f"the box of a map {name}")
        assert_close(_find_boxes(score_map, "spol"), (0, 0, 0, 0), 0, f"the box of paper=spol of a map {name}")


def _check_ground_truth() -> None:
    sample = Sample("a", 0, as_boxes([[26, 36, 46.5, 256], [0, 20, 10, 100]]), "inclusive", size=_IMAGE)
    expected: dict[str, list[list[float]]] = {
        "bas": [[10, 20, 31.5, 225], [0, 4, 0, 85]],  # the second one is outside the crop
        "sat": [[10, 20, 31, 224], [0, 4, 0, 85]],
        "spol": [[10, 20, 30.5, 224], [0, 4, 0, 84]],
    }
    for paper, boxes in expected.items():
        found = find_protocol(f"crop224:paper={paper}").ground_truth(sample, _IMAGE)
        assert_close(found, boxes, 0, f"the edges under paper={paper}")


def _check_hits() -> None:
    """The image's class comes second: the box of the first class counts, with an IoU of exactly 1/2."""
    half, one = np.full((1, 1), 0.5, np.float32), np.ones((1, 1), np.float32)
    for paper, is_hit in (("bas", False), ("sat", True), ("spol", False)):
        protocol = find_protocol(f"crop224:paper={paper}")
        stats = protocol.make_stats(curves=one, first=half, labels=np.zeros(1, int), ranks=np.array([2]))
        wrong = METRICS.get("top5_loc_err").per_image(stats)
        assert_equal(bool(wrong[0, 0]), not is_hit, f"a wrong prediction under paper={paper}:")


CHECKS: Checks = {
    "crop224: a rectangle, a ring and a block": _check_boxes,
    "crop224: constant maps and NaN": _check_no_signal,
    "crop224: ground truth in the crop": _check_ground_truth,
    "crop224: an IoU of one half, and one box for all predictions": _check_hits,
}
