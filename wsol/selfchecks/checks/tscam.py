"""The protocol ``tscam`` on maps with known boxes: ``x, y, x + w, y + h``, inclusive, also beyond the last pixel."""

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.base import METRICS
from wsol.protocols import find_protocol
from wsol.selfchecks import shapes
from wsol.selfchecks.expect import assert_close, assert_equal
from wsol.selfchecks.outcome import Checks

_SQUARE = (224, 224)


def _find_boxes(score_map: shapes.Map) -> NDArray[np.float64]:
    """Return the box at tau = 0, 0.01, ..., 0.99."""
    protocol = find_protocol("tscam")
    boxes: NDArray[np.float64] = protocol.boxes(protocol.prepare(score_map[None], _SQUARE), protocol.taus)[0]
    return boxes


def _check_boxes() -> None:
    assert_close(_find_boxes(shapes.rectangles(((40, 60, 140, 120), 1))), (40, 60, 141, 121), 0, "the box")
    border = shapes.rectangles(((190, 200, 224, 224), 1))
    assert_close(_find_boxes(border), (190, 200, 225, 225), 0, "the box at the border")


def _check_no_signal() -> None:
    for name, score_map in shapes.maps_without_signal().items():
        assert_close(_find_boxes(score_map), (0, 0, 2, 2), 0, f"the box of a map {name}")


def _check_ground_truth() -> None:
    sample = Sample("a", 0, as_boxes([[33, 10, 66, 20], [-3, 0, 120, 60]]), "inclusive", size=(100, 50))
    expected = [[73, 44, 148, 90], [0, 0, 224, 224]]  # 73.92, 44.8, 147.84, 89.6; and 223
    assert_close(find_protocol("tscam").ground_truth(sample, (100, 50)), expected, 0, "the edges")


def _check_hits() -> None:
    half = np.full((1, 1), 0.5, np.float32)
    stats = find_protocol("tscam").make_stats(curves=half, labels=np.zeros(1, int), ranks=np.ones(1, int))
    for name, value in (("gt_known_loc_acc", True), ("top1_loc_err", True), ("top5_loc_err", True)):
        assert_equal(bool(METRICS.get(name).per_image(stats)[0, 0]), value, f"{name} at an IoU of 1/2:")


CHECKS: Checks = {
    "tscam: a rectangle, also at the border": _check_boxes,
    "tscam: constant maps and NaN": _check_no_signal,
    "tscam: ground truth, truncated": _check_ground_truth,
    "tscam: an IoU of one half": _check_hits,
}
