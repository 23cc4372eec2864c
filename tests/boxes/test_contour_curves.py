"""Boxes and IoUs of contours at every threshold, compared with OpenCV, with boxes of runs and with cases by hand."""

from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from wsol.boxes.contour_curves import contour_curves
from wsol.boxes.contours import largest_contour_boxes
from wsol.metrics.iou import best_iou

MAPS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 6))


def smooth(seed: int, side: int, grain: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).random((grain, grain)).astype(np.float32)
    large = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.floor((large - large.min()) / np.ptp(large) * 255).astype(np.uint8)


def nested_rings(side: int) -> NDArray[np.uint8]:
    """Rings of rising and falling values, with gaps: holes that open to the outside one after the other."""
    y, x = np.mgrid[:side, :side] - side // 2
    radius = np.hypot(x, y).astype(int)
    image = (radius % 4 < 2) * (60 + 37 * radius % 190)
    image[side // 2, ::3] = 90
    return image.astype(np.uint8)


STRUCTURED = {
    "smooth": smooth(0, 64, 6),
    "rough": smooth(1, 65, 20),
    "noise": smooth(2, 40, 40),
    "chessboard": (np.indices((31, 31)).sum(0) % 2).astype(np.uint8),
    "rings": nested_rings(48),
    "rings in noise": nested_rings(48) + np.random.default_rng(3).integers(0, 3, (48, 48)).astype(np.uint8),
}


def by_opencv(mask: NDArray[np.bool_], truth: NDArray[np.float64], extension: int) -> tuple[list[int], float, float]:
    """Return the box of the largest contour, its IoU, and the best IoU of all contours."""
    h, w = mask.shape
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    chosen = [max(contours, key=cv2.contourArea), *contours] if contours else []
    rectangles = [cv2.boundingRect(contour) for contour in chosen] or [(0, 0, 0, 0)]
    boxes = [[x, y, min(x + a + extension, w), min(y + b + extension, h)] for x, y, a, b in rectangles]
    ious = best_iou(np.array(boxes, float), truth)
    return boxes[0], ious[0], ious.max()


def check(image: NDArray[np.uint8], thresholds: list[int], truth: NDArray[np.float64], extension: int) -> None:
    boxes, largest, best = contour_curves(image[None], np.array([thresholds]), truth, np.array([len(truth)]), extension)
    found = {t: by_opencv(image > t, truth, extension) for t in set(thresholds)}
    assert boxes[0].tolist() == [found[t][0] for t in thresholds]
    np.testing.assert_allclose(largest[0], [found[t][1] for t in thresholds], rtol=1e-6)
    np.testing.assert_allclose(best[0], [found[t][2] for t in thresholds], rtol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    MAPS,
    st.lists(st.integers(0, 7), min_size=1, max_size=9).map(sorted),
    st.integers(0, 1),
    st.lists(st.tuples(*[st.integers(0, 5)] * 4), min_size=1, max_size=3),
)
def test_any_small_map(
    image: NDArray[np.uint8], thresholds: list[int], extension: int, boxes: list[tuple[int, ...]]
) -> None:
    check(image, thresholds, np.array([[x, y, x + 1 + w, y + 1 + h] for x, y, w, h in boxes], float), extension)


@pytest.mark.parametrize("kind", STRUCTURED)
def test_large_maps(kind: str) -> None:
    image = STRUCTURED[kind]
    check(image, [*range(256)], np.array([[3.0, 4, 20, 30], [10, 10, 31, 31]]), 1)
    check(image, [0, 3, 3, 50, 51, 200, 255], np.array([[3.0, 4, 20, 30]]), 0)


@pytest.mark.slow
def test_every_map_of_three_by_three_with_three_values() -> None:
    every = np.array([*product((0, 1, 2), repeat=9)], np.uint8).reshape(-1, 3, 3)
    check_boxes_and_best(every, 2)


@pytest.mark.slow
def test_every_mask_of_four_by_four_and_many_of_five_by_five() -> None:
    bits = np.arange(2**16)[:, None] >> np.arange(16) & 1
    check_boxes_and_best(bits.astype(np.uint8).reshape(-1, 4, 4), 1)
    check_boxes_and_best(np.random.default_rng(0).integers(0, 4, (4000, 5, 5)).astype(np.uint8), 3)


def check_boxes_and_best(maps: NDArray[np.uint8], count: int) -> None:
    truth = np.array([[1.0, 0, 3, 2]])
    thresholds = np.tile(np.arange(count), (len(maps), 1))
    one_each = np.ones(len(maps), np.int64)
    boxes, _, best = contour_curves(maps, thresholds, np.repeat(truth, len(maps), 0), one_each)
    known = {}  # by mask
    for image, image_boxes, image_best in zip(maps, boxes, best, strict=True):
        for t in range(count):
            mask = image > t
            if (key := mask.tobytes()) not in known:
                known[key] = by_opencv(mask, truth, 0)
            assert image_boxes[t].tolist() == known[key][0]
            assert image_best[t] == pytest.approx(known[key][2], rel=1e-6)


def test_the_largest_contour_is_that_of_the_runs() -> None:
    rng = np.random.default_rng(0)
    maps = np.stack([smooth(seed, 60, int(rng.integers(4, 30))) for seed in range(20)])
    thresholds = np.sort(rng.integers(0, 256, (20, 30)), 1)
    truths = np.tile([10.0, 12, 40, 50], (20, 1))
    boxes, _, _ = contour_curves(maps, thresholds, truths, np.ones(20, np.int64))
    np.testing.assert_array_equal(boxes, largest_contour_boxes(maps, thresholds))


def test_maps_do_not_mix() -> None:
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 256, (5, 9, 11)).astype(np.uint8)
    thresholds = np.sort(rng.integers(0, 256, (5, 40)), 1)
    counts = np.array([1, 3, 2, 1, 1])
    corners = rng.integers(0, 6, (8, 4))
    truths = np.concatenate([corners[:, :2], corners[:, :2] + 1 + corners[:, 2:]], 1).astype(float)
    together = contour_curves(maps, thresholds, truths, counts)
    for m in range(5):
        own = slice(counts[:m].sum(), counts[: m + 1].sum())
        alone = contour_curves(maps[m : m + 1], thresholds[m : m + 1], truths[own], counts[m : m + 1])
        for found, expected in zip(together, alone, strict=True):
            np.testing.assert_array_equal(found[m], expected[0])


def test_a_hole_by_hand() -> None:
    """A ring of 5 x 5 with a hole of 1 x 2 in a 7 x 7 map: boxes 5 x 5 and, a pixel around the hole, 3 x 4."""
    image = np.zeros((7, 7), np.uint8)
    image[1:6, 1:6] = 1
    image[2:4, 3] = 0
    for truth in ([2.0, 1, 5, 5], [1.0, 1, 6, 6]):
        boxes, largest, best = contour_curves(image[None], np.array([[0]]), np.array([truth]), np.array([1]))
        assert boxes.tolist() == [[[1, 1, 6, 6]]]
        assert best.tolist() == [[1.0]]
        assert largest[0, 0] == pytest.approx(1.0 if truth[0] == 1 else 12 / 25)


def test_empty_masks() -> None:
    """The box is empty, in the corner, and extended like the others."""
    nothing, corner = np.zeros((1, 4, 5), np.uint8), np.array([[0.0, 0, 1, 2]])
    for extension, iou in ((0, 0.0), (1, 0.5)):
        boxes, largest, best = contour_curves(nothing, np.array([[0, 1]]), corner, np.array([1]), extension)
        assert boxes.tolist() == [[[0, 0, extension, extension]] * 2]
        assert largest.tolist() == best.tolist() == [[iou, iou]]


def test_larger_maps_than_the_numbers_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="4097 x 1"):
        contour_curves(np.zeros((1, 1, 4097), np.uint8), np.array([[0]]), np.ones((1, 4)), np.array([1]))
