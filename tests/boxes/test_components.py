"""Against skimage's labels and OpenCV's contours, threshold by threshold."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from wsol.boxes.components import best_contour_ious, largest_component_boxes
from wsol.metrics.iou import best_iou

MAPS = arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 5))


def smooth(seed: int, side: int, grain: int) -> NDArray[np.int16]:
    noise = np.random.default_rng(seed).random((grain, grain)).astype(np.float32)
    large = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.floor((large - large.min()) / np.ptp(large) * 255).astype(np.int16) - 1


STRUCTURED = [smooth(0, 64, 6), smooth(1, 65, 20), smooth(2, 40, 40), np.indices((31, 31)).sum(0).astype(np.int16) % 2]


def largest_by_skimage(mask: NDArray[np.bool_]) -> list[int]:
    regions = regionprops(label(mask, connectivity=2))
    if not regions:
        return [0, 0, 0, 0]
    most = max(r.area for r in regions)
    y0, x0, y1, x1 = next(r.bbox for r in regions if r.area == most)  # labels come in raster order
    return [x0, y0, x1, y1]


def best_by_opencv(mask: NDArray[np.bool_], truth: NDArray[np.float64], extension: int) -> float:
    h, w = mask.shape
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    rectangles = [cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)]
    boxes = np.array([[x, y, min(x + a + extension, w), min(y + b + extension, h)] for x, y, a, b in rectangles], float)
    return float(best_iou(boxes, truth).max())


def check_largest(tau_indices: NDArray[np.int16], count: int) -> None:
    found = largest_component_boxes(tau_indices, count)
    assert found.tolist() == [largest_by_skimage(tau_indices >= t) for t in range(count)]


def check_best(tau_indices: NDArray[np.int16], count: int, truth: NDArray[np.float64], extension: int) -> None:
    found = best_contour_ious(tau_indices, count, truth, extension)
    expected = [best_by_opencv(tau_indices >= t, truth, extension) for t in range(count)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(max_examples=400, deadline=None)
@given(MAPS)
def test_the_largest_component_is_skimages(tau_indices: NDArray[np.int16]) -> None:
    check_largest(tau_indices, 6)


@settings(max_examples=400, deadline=None)
@given(MAPS, st.integers(0, 1), st.lists(st.tuples(*[st.integers(0, 5)] * 4), min_size=1, max_size=3))
def test_the_best_contour_is_opencvs(
    tau_indices: NDArray[np.int16], extension: int, boxes: list[tuple[int, ...]]
) -> None:
    truth = np.array([[x, y, x + 1 + w, y + 1 + h] for x, y, w, h in boxes], float)
    check_best(tau_indices, 6, truth, extension)


@pytest.mark.parametrize("tau_indices", STRUCTURED, ids=["smooth", "rough", "noise", "chessboard"])
def test_large_maps(tau_indices: NDArray[np.int16]) -> None:
    check_largest(tau_indices, 255)
    check_best(tau_indices, 255, np.array([[3.0, 4, 20, 30], [10, 10, 31, 31]]), 1)


def test_a_hole_by_hand() -> None:
    """A ring of 5 x 5 with a hole of 1 x 2 in a 7 x 7 map: boxes 5 x 5 and, a pixel around the hole, 3 x 4."""
    tau_indices = np.full((7, 7), -1, np.int16)
    tau_indices[1:6, 1:6] = 0
    tau_indices[2:4, 3] = -1
    assert largest_component_boxes(tau_indices, 1).tolist() == [[1, 1, 6, 6]]
    hole = np.array([[2.0, 1, 5, 5]])
    assert best_contour_ious(tau_indices, 1, hole).tolist() == [1.0]
    assert best_contour_ious(tau_indices, 1, np.array([[1.0, 1, 6, 6]])).tolist() == [1.0]


def test_empty_masks() -> None:
    nothing = np.full((4, 5), -1, np.int16)
    assert largest_component_boxes(nothing, 2).tolist() == [[0, 0, 0, 0]] * 2
    corner = np.array([[0.0, 0, 1, 2]])
    assert best_contour_ious(nothing, 2, corner).tolist() == [0, 0]
    assert best_contour_ious(nothing, 2, corner, extension=1).tolist() == [0.5, 0.5]
