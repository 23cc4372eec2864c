import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from wsol.metrics.iou import best_iou, best_iou_curves, reduce_by_image

boxes = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5
)


def test_by_hand() -> None:
    truth = np.array([[2, 2, 6, 6], [10, 10, 12, 12]], float)
    predictions = np.array([[2, 2, 6, 6], [4, 4, 8, 8], [6, 2, 8, 6], [10, 10, 13, 12]], float)
    # the same; 4 shared of 16 + 16 - 4; touching only; 4 shared of 6 + 4 - 4
    assert best_iou(predictions, truth).tolist() == [1, 4 / 28, 0, 4 / 6]


@given(boxes, boxes)
def test_agrees_with_pycocotools(predictions: list[tuple[int, ...]], truth: list[tuple[int, ...]]) -> None:
    theirs = coco.iou(np.array(predictions, float), np.array(truth, float), [0] * len(truth)).max(1)
    edges = [np.array([(x, y, x + w, y + h) for x, y, w, h in part], float) for part in (predictions, truth)]
    np.testing.assert_allclose(best_iou(*edges), theirs, rtol=1e-12)


def test_an_empty_box_overlaps_nothing() -> None:
    empty, full = [3, 3, 3, 9], [0, 0, 9, 9]
    assert best_iou(np.array([empty, full], float), np.array([empty], float)).tolist() == [0, 0]
    assert best_iou(np.array([empty], float), np.array([empty, full], float)).tolist() == [0]


def test_curves_of_several_images_are_those_of_each() -> None:
    rng = np.random.default_rng(1)
    counts = np.array([1, 3, 2])
    corners = rng.integers(0, 30, (3, 50, 4)).astype(float)
    boxes = np.concatenate([corners[..., :2], corners[..., :2] + corners[..., 2:]], -1)  # some are empty
    sides = rng.integers(1, 30, (6, 4)).astype(float)
    truth = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], -1)
    truth[3, 2] = truth[3, 0]  # a box outside of its image is clipped to nothing, and no box may be predicted
    starts = np.cumsum(counts) - counts
    boxes[1, :2] = 0
    expected = [best_iou(boxes[i], truth[start : start + counts[i]]) for i, start in enumerate(starts)]
    found = best_iou_curves(boxes, truth, starts)
    np.testing.assert_array_equal(found, expected)


def test_images_without_boxes_by_hand() -> None:
    counts = np.array([0, 2, 0, 0, 1, 0])
    values = np.array([0.25, 0.75, 0.5])
    assert reduce_by_image(np.maximum, values, counts).tolist() == [0, 0.75, 0, 0, 0.5, 0]
    found = reduce_by_image(np.logical_or, values > 0.5, counts)
    assert found.tolist() == [False, True, False, False, False, False]
    assert reduce_by_image(np.maximum, np.empty(0), np.zeros(2, np.int64)).tolist() == [0, 0]
    boxes = np.array([[[0.0, 0, 2, 2]], [[0, 0, 1, 1]]])
    truth = np.array([[0.0, 0, 2, 1]])
    assert best_iou_curves(boxes, truth, np.array([0, 0])).tolist() == [[0], [0.5]]  # the first image has no box
    assert best_iou(boxes[0], np.empty((0, 4))).tolist() == [0]
