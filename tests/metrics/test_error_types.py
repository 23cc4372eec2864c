import numpy as np
import pytest

from wsol.metrics.error_types import compare_predictions, error_table
from wsol.metrics.iou import best_iou

ONE = [[0, 0, 10, 10]]
TWO = [[0, 0, 10, 10], [10, 0, 20, 10]]


def error_type(box: list[float], truth: list[list[float]], right: bool) -> str:
    first = np.zeros(1, np.int64)
    _, types = compare_predictions(np.array([[box]], float), np.array(truth, float), first, np.array([[right]]), 0.5)
    return str(types[0, 0])


@pytest.mark.parametrize(
    ("box", "truth", "expected"),
    [
        ([0, 0, 10, 5], ONE, "correct"),  # IoU 50 / 100, and equality counts
        ([0, 0, 20, 10], TWO, "correct"),  # IoU 0.5 with the first, tested before the two that it covers
        ([2, 0, 18, 8], TWO, "multi"),  # IoG 64 / 100 with both, IoU 64 / 164
        ([6, 0, 14, 12], TWO, "multi"),  # IoG 40 / 100 with both, IoU 40 / 156
        ([7, 0, 13, 12], TWO, "other"),  # IoG 30 / 100 with both, which is not above 0.3; IoB 30 / 72 with each
        ([0, 0, 5, 5], ONE, "part"),  # IoB 1, IoU 25 / 100
        ([-2, 0, 2, 10], ONE, "other"),  # IoB 20 / 40 is not above 0.5; IoG 20 / 100
        ([0, 0, 10, 7], [[-5, 0, 5, 20], [0, 0, 10, 10]], "correct"),  # the second box is the best: 70 / 100
        ([0, 3, 20, 13], ONE, "more"),  # IoG 70 / 100, and equality counts; IoU 70 / 230
        ([11, 0, 14, 10], [[-90, 0, 12, 10], [10, 0, 20, 10]], "part"),  # IoB 30 / 30 with the second, the best
        ([0, 0, 20, 20], ONE, "more"),  # IoG 1, IoB 100 / 400
        ([8, 0, 18, 10], ONE, "other"),  # IoB 20 / 100, IoG 20 / 100
        ([50, 50, 60, 60], ONE, "other"),  # nothing shared
        ([0, 0, 14, 15], ONE, "more"),  # IoU 100 / 210, IoB 100 / 210: not part
        ([0, 0, 0, 0], [[5, 0, 5, 9]], "other"),  # the truth is clipped to nothing, and no box is predicted
        ([0, 0, 9, 9], [[5, 0, 5, 9]], "other"),
        ([-2, 3, 12, 10], TWO, "correct"),  # 70 shared with the first of 98 + 100 - 70 = 128
    ],
)
def test_by_hand(box: list[float], truth: list[list[float]], expected: str) -> None:
    assert error_type(box, truth, True) == expected


def test_a_wrong_class_comes_first() -> None:
    assert error_type([0, 0, 10, 10], ONE, False) == "class"


def test_an_empty_box_is_neither_part_nor_more() -> None:
    assert error_type([0, 0, 0, 0], ONE, True) == "other"


def test_ious_of_all_images_at_once() -> None:
    """Each image is compared with its own boxes, however many, and a missing prediction with none."""
    rng = np.random.default_rng(3)
    counts = np.array([1, 3, 2, 1, 5])
    corners = np.sort(rng.integers(0, 60, (counts.sum(), 2, 2)), axis=1) + np.eye(2, dtype=int)[:, 1:]
    truth = corners.reshape(-1, 4).astype(float)
    boxes = (np.sort(rng.random((5, 4, 2, 2)), axis=2) * 60).reshape(5, 4, 4)
    boxes[1, 2] = boxes[4, 0] = np.nan
    starts = np.cumsum(counts) - counts
    ious, types = compare_predictions(boxes, truth, starts, rng.random((5, 4)) < 0.5, 0.5)
    for i in range(5):
        own = truth[starts[i] : starts[i] + counts[i]]
        np.testing.assert_array_equal(ious[i], np.nan_to_num(best_iou(boxes[i], own)))
    assert (types[1, 2], types[4, 0], (types == "none").sum()) == ("none", "none", 2)


def test_the_gain_from_fixing_each_type() -> None:
    types = np.array(["class", "class", "class", "correct", "part", "part", "more", "other"])
    own = np.array([True, False, True, True, False, False, False, False])  # the right class's box of three would do
    rows = error_table(types, own).set_index("error")
    assert rows.share.to_dict() == {"class": 37.5, "correct": 12.5, "multi": 0, "part": 25, "more": 12.5, "other": 12.5}
    assert rows.gain.to_dict() == {"class": 25, "correct": 0, "multi": 0, "part": 25, "more": 12.5, "other": 12.5}
    assert (rows.share_low <= rows.share).all()
    assert (rows.gain <= rows.gain_high).all()
    assert rows.n.sum() == 8
