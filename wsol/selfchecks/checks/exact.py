"""The protocol ``exact`` on maps with known boxes: half-open edges, nothing truncated."""

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.protocols import find_protocol
from wsol.selfchecks import shapes
from wsol.selfchecks.expect import assert_close
from wsol.selfchecks.outcome import Checks


def _find_boxes(score_map: shapes.Map) -> NDArray[np.float64]:
    """Return the box at tau = 0, 1 / 255, ..., 254 / 255; no pixel is above tau 1."""
    protocol = find_protocol("exact")
    boxes: NDArray[np.float64] = protocol.boxes(protocol.prepare(score_map[None], (224, 224)), protocol.taus)[0]
    assert_close(boxes[255:], [[0, 0, 0, 0]], 0, "the box at tau 1")
    return boxes[:255]


def _check_shapes() -> None:
    assert_close(_find_boxes(shapes.rectangles(((40, 60, 140, 120), 1))), (40, 60, 140, 120), 0, "the rectangle's box")
    assert_close(_find_boxes(shapes.disc()), (70, 60, 131, 121), 0, "the disc's box")


def _check_components() -> None:
    boxes = _find_boxes(shapes.two_blobs())
    assert_close(boxes[:128], (100, 90, 160, 130), 0, "the box of the large blob")  # 127 / 255 < 0.5 < 128 / 255
    assert_close(boxes[128:], (20, 30, 40, 50), 0, "the box of the small blob")
    assert_close(
        _find_boxes(shapes.touching_squares()), (50, 60, 90, 100), 0, "one box of squares that touch at a corner,"
    )
    assert_close(
        _find_boxes(shapes.ring_and_block()), (120, 100, 140, 120), 0, "the box of the block, which has more pixels,"
    )


def _check_no_signal() -> None:
    for name, score_map in shapes.maps_without_signal().items():
        assert_close(_find_boxes(score_map), (0, 0, 0, 0), 0, f"the box of a map {name}")


def _check_perfect_mask() -> None:
    protocol = find_protocol("exact")
    sample = Sample("a", 0, as_boxes([[40, 60, 139, 119]]), "inclusive", size=(224, 224))
    truth = protocol.ground_truth(sample, (224, 224))
    mask = shapes.rectangles(((40, 60, 140, 120), 1), ((60, 70, 80, 90), 0))
    stats = protocol.score_map_stats(protocol.prepare(mask[None], (224, 224))[0], truth)
    assert_close(stats.curve[:255], 1, 0, "the IoU")


def _check_frame() -> None:
    protocol = find_protocol("exact")
    steps = np.array([[[0.0, 1.0]]], np.float32)  # two pixels; at 500 x 375 the ramp between them is 0.5 at x = 250
    prepared = protocol.prepare(steps, (500, 375))
    assert_close(protocol.boxes(prepared, np.array([0.5]))[0], (250, 0, 500, 375), 0, "the box")
    sample = Sample("a", 0, as_boxes([[0.25, 3, 10.5, 7]]), "inclusive", size=(500, 375))
    assert_close(protocol.ground_truth(sample, (500, 375)), [[0.25, 3, 11.5, 8]], 0, "the edges")


CHECKS: Checks = {
    "exact: a rectangle and a disc": _check_shapes,
    "exact: the largest component": _check_components,
    "exact: constant maps and NaN": _check_no_signal,
    "exact: a perfect mask scores 100 at every tau": _check_perfect_mask,
    "exact: the annotation's frame": _check_frame,
}
