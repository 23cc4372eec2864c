"""The CAM paper's protocol, by hand and against skimage."""

import numpy as np
import pytest
from skimage.measure import label, regionprops

from wsol.boxes.cam_script import cam_script_boxes
from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.protocols import PROTOCOLS, find_protocol

PAPER, SCRIPT = PROTOCOLS.get("zhou2016"), find_protocol("zhou2016:box=script")


def test_the_threshold_is_a_share_of_the_maximum_and_strict() -> None:
    raw = np.zeros((1, 20, 30), np.float32)
    raw[0, 2:6, 3:9] = 10
    raw[0, 6, 3:9] = 2  # exactly 20 % of the maximum: not above it
    raw[0, 10:19, 10:29] = 2.01
    raw[0, 0, 0] = -100  # no min-max: what lies below 0 moves nothing
    prepared = PAPER.prepare(raw, (30, 20))
    assert PAPER.boxes(prepared, np.array([0.2, 0.21]))[0].tolist() == [[10, 10, 29, 19], [3, 2, 9, 6]]


def test_curves_against_skimage() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[2.0, 3, 20, 18]])
    for _ in range(5):
        prepared = PAPER.prepare(rng.normal(size=(1, 7, 7)).astype(np.float32), (33, 21))[0]
        stats = PAPER.score_map_stats(prepared, truth)
        assert len(PAPER.taus) == len(stats.curve) == 100
        for tau, box in zip(PAPER.taus, stats.boxes, strict=True):
            regions = regionprops(label(prepared.astype(np.float64) > tau, connectivity=2))
            y0, x0, y1, x1 = max(regions, key=lambda region: (region.area, -region.label)).bbox
            assert box.tolist() == [x0, y0, x1, y1]


@pytest.mark.parametrize("value", [0, -1, np.nan])
def test_without_a_positive_value_the_box_is_empty(value: float) -> None:
    prepared = PAPER.prepare(np.full((1, 5, 5), value, np.float32), (20, 20))
    assert not PAPER.boxes(prepared, PAPER.taus).any()
    assert not PAPER.score_map_stats(prepared[0], np.array([[0.0, 0, 9, 9]])).curve.any()


def test_ground_truth_is_the_published_corners_inclusive() -> None:
    sample = Sample("a", 0, as_boxes([[7, 3, 448, 111.5]]), "inclusive")
    assert PAPER.ground_truth(sample, (448, 112)).tolist() == [[7, 3, 449, 112.5]]
    # devkit: 10 x 10 pixels against the same shifted by 2: 80 / 120.
    sample = Sample("a", 0, as_boxes([[0, 0, 9, 9]]), "inclusive")
    raw = np.zeros((1, 30, 30), np.float32)
    raw[0, :10, 2:12] = 1
    stats = PAPER.score_map_stats(PAPER.prepare(raw, (30, 30))[0], PAPER.ground_truth(sample, (30, 30)))
    assert stats.curve[20] == pytest.approx(80 / 120)


def test_the_script_has_two_boxes_and_no_tau() -> None:
    assert len(SCRIPT.taus) == 0
    raw = np.zeros((80, 100), np.float32)
    raw[5:60, 5:50] = 3
    raw[20:70, 60:98] = 2
    prepared = SCRIPT.prepare(raw[None], (100, 80))
    boxes = cam_script_boxes((prepared[0] * 255).astype(np.uint8))
    assert boxes.tolist() == [[15, 15, 40, 50], [70, 30, 88, 60]]
    stats = SCRIPT.score_map_stats(prepared[0], np.array([[70.0, 30, 88, 60]]))
    assert (stats.curve.tolist(), stats.second.tolist()) == ([0], [1])
    assert SCRIPT.boxes(prepared, SCRIPT.taus).tolist() == [[[15, 15, 40, 50]]]
    empty = SCRIPT.score_map_stats(np.zeros((80, 100), np.float32), np.array([[70.0, 30, 88, 60]]))
    assert (empty.curve.tolist(), empty.second.tolist()) == ([0], [0])


def test_crops() -> None:
    assert (PAPER.view.side, PAPER.view.crop, PAPER.view.count) == (256, 224, 10)
    assert find_protocol("zhou2016:crops=1").view.count == 1
