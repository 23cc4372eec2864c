"""The protocol tscam: every convention by hand, and against an implementation image by image."""

import naive_fixed_tau as naive
import numpy as np
import pytest

from wsol.datasets import Sample
from wsol.metrics.base import METRICS
from wsol.protocols import find_protocol
from wsol.protocols.base import ground_truth_of

TSCAM = find_protocol("tscam")
SQUARE = (224, 224)


def truth(box: tuple[float, ...], size: tuple[int, int] = SQUARE) -> list[float]:
    sample = Sample("a", 0, np.array([box], float), "inclusive", size=size)
    (edges,) = TSCAM.ground_truth(sample, size).tolist()
    return edges


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    score_map = np.zeros((224, 224))
    score_map[y0:y1, x0:x1] = 1
    return score_map


def box_at(score_map: np.ndarray, tau: float) -> list[float]:
    found: list[float] = TSCAM.boxes(score_map[None], np.array([tau]))[0, 0].tolist()
    return found


def test_signature() -> None:
    assert TSCAM.signature == "tscam:step=0.01,norm=minmax"
    assert find_protocol("tscam:size=384").frame((5, 5)) == (384, 384)
    assert TSCAM.taus.tolist() == [i / 100 for i in range(100)]


def test_ground_truth_is_truncated_and_ends_at_the_last_pixel() -> None:
    assert truth((33, 10, 66, 20), (100, 50)) == [73, 44, 148, 90]  # 73.92, 44.8, 147.84, 89.6
    assert truth((-3, -1, 120, 60), (100, 50)) == [0, 0, 224, 224]  # 223, inclusive
    assert truth((0, 0, 224, 224)) == [0, 0, 224, 224]


def test_a_box_ends_beyond_its_last_pixel() -> None:
    assert box_at(rectangle(10, 20, 30, 40), 0.2) == [10, 20, 31, 41]
    assert box_at(np.ones((224, 224)), 0.2) == [0, 0, 225, 225]  # also at the border
    curve = TSCAM.score_map_stats(np.ones((224, 224)), np.array([truth((0, 0, 224, 224))])).curve
    assert curve[20] == pytest.approx(224**2 / 225**2)


def test_an_empty_map_has_a_box_of_two_by_two_pixels() -> None:
    assert box_at(np.zeros((224, 224)), 0.2) == [0, 0, 2, 2]
    assert box_at(TSCAM.prepare(np.full((1, 7, 7), 3.0), SQUARE)[0], 0) == [0, 0, 2, 2]
    curve = TSCAM.score_map_stats(np.zeros((224, 224)), np.array([truth((0, 0, 1, 1))])).curve
    assert (curve == 1).all()


def test_the_threshold_is_a_share_of_the_maximum_in_8_bits() -> None:
    score_map = rectangle(10, 10, 20, 20) * 100 / 255
    score_map[100:150, 100:150] = 12.5 / 255
    assert box_at(score_map, 0.11) == [100, 100, 151, 151]  # 12 > int(11.0)
    assert box_at(score_map, 0.12) == [10, 10, 21, 21]  # not 12 > int(12.0), although 12.5 is
    score_map[100:150, 100:150] = 13 / 255
    assert box_at(score_map, 0.12) == [100, 100, 151, 151]
    assert box_at(score_map, 0.125) == [100, 100, 151, 151]  # 13 > int(12.5)


def test_one_half_is_enough_for_gt_known_and_not_for_a_guess() -> None:
    """10 x 10 pixels are 11 x 11 as inclusive corners; ground truth is of the same width and twice the height."""
    boxes = np.array([truth((10, 10, 20, 31))])
    names = ("gt_known_loc_acc", "top1_loc_err", "top5_loc_err")
    for height, expected in ((20, [True, True, True]), (21, [True, False, False]), (19, [False, True, True])):
        curve = TSCAM.score_map_stats(rectangle(10, 10, 20, height), boxes).curve
        assert (curve[20] == 0.5) == (height == 20)
        stats = TSCAM.make_stats(curves=curve[None], labels=np.zeros(1, int), ranks=np.ones(1, int))
        assert [METRICS.get(name).per_image(stats)[0, 20] for name in names] == expected


def test_each_guess_has_the_box_of_its_own_map() -> None:
    sample = Sample("a", 0, np.array([[10.0, 10, 19, 19]]), "inclusive", size=SQUARE)
    right, wrong = (rectangle(*box).astype(np.float32) for box in ((10, 10, 19, 19), (100, 100, 200, 200)))
    truths = [ground_truth_of(TSCAM, sample, SQUARE)]
    rows, boxes = TSCAM.score_batch(
        TSCAM.view, np.stack([right, wrong, right])[None], truths, np.array([[0, 1, 0]]), 20
    )
    assert boxes is not None
    assert boxes[0].tolist() == [[10, 10, 20, 20], [100, 100, 201, 201], [10, 10, 20, 20]]
    assert "first" not in rows
    stats = TSCAM.make_stats(curves=rows["curves"], labels=np.zeros(1, int), ranks=np.array([2]))
    assert not METRICS.get("top5_loc_err").per_image(stats)[0, 20]


@pytest.mark.parametrize("side", [224, 97])
def test_the_naive_implementation_agrees(side: int) -> None:
    rng = np.random.default_rng(1)
    protocol = find_protocol(f"tscam:size={side}")
    for n in range(20):
        grain = int(rng.integers(2, 15))
        score_map = rng.normal(size=(grain, grain)).astype(np.float32)
        width, height = rng.integers(30, 500, 2).tolist()
        corners = np.sort(rng.uniform(0, 1, (3, 2, 2)) * [width, height], axis=1)
        boxes = (corners if n % 2 else np.rint(corners)).reshape(3, 4)
        sample = Sample("a", 0, boxes, "inclusive", size=(width, height))
        prepared = protocol.prepare(score_map[None], sample.size)[0]
        stats = ground_truth_of(protocol, sample, sample.size).score_map_stats(protocol, prepared)
        for i in rng.integers(0, 100, 4).tolist():
            expected = naive.tscam_iou(score_map, i / 100, boxes.tolist(), (width, height), side)
            assert stats.curve[i] == pytest.approx(expected, abs=1e-6), (n, i)
