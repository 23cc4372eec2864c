"""The largest contour against OpenCV, written from the definitions, and against cases worked out by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsol.boxes.contours import largest_contour_boxes


def by_opencv(image: np.ndarray, threshold: int) -> tuple[int, int, int, int]:
    """One threshold, the field's way: every contour, the largest ``contourArea``, its bounding rectangle."""
    contours, _ = cv2.findContours((image > threshold).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return 0, 0, 0, 0
    x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return x, y, x + w, y + h


def agree(image: np.ndarray) -> None:
    """Compares every threshold at which the mask can change."""
    thresholds = np.union1d(0, np.r_[image[image < 255], np.maximum(image, 1).ravel() - 1]).astype(np.int64)
    boxes = largest_contour_boxes(image[None], thresholds[None])[0]
    alone = largest_contour_boxes(np.repeat(image[None], len(thresholds), 0), thresholds[:, None])[:, 0]
    for threshold, box, by_itself in zip(thresholds.tolist(), boxes.tolist(), alone.tolist(), strict=True):
        expected = by_opencv(image, threshold)
        assert tuple(box) == expected, threshold
        assert tuple(by_itself) == expected, threshold


def picture(rows: str) -> np.ndarray:
    return np.array([[255 * (c == "#") for c in row] for row in rows.split()], np.uint8)


@pytest.mark.parametrize(
    ("rows", "box"),
    [
        # A ring encloses 4 x 4 = 16 units although it has fewer pixels (16) than the block has (20, area 3 x 4 = 12).
        ("#####....... #...#..##### #...#..##### #...#..##### #####..#####", (0, 0, 5, 5)),
        # A line of nine pixels has no area, so the 2 x 2 block (area 1) wins.
        ("######### ......... ##....... ##.......", (0, 2, 2, 4)),
        # Two pixels, both of area 0: the one last in raster order is OpenCV's first contour.
        ("#.... ..... ...#.", (3, 2, 4, 3)),
        # A diamond's contour is 4 half units = 2 (its hole's contour runs through the same pixels), the block's 1.
        (".#...## #.#..## .#.....", (0, 0, 3, 3)),
        # Diagonal neighbors are connected: one component of area 0.5 + 0.5.
        ("##... #.... .#... ..##. ...#.", (0, 0, 4, 5)),
        ("..... .....", (0, 0, 0, 0)),
    ],
)
def test_by_hand(rows: str, box: tuple[int, int, int, int]) -> None:
    rows_of = picture(rows)
    assert tuple(largest_contour_boxes(rows_of[None], np.array([[0]]))[0, 0].tolist()) == box
    assert by_opencv(rows_of, 0) == box


@settings(max_examples=400, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 2, 3, 128, 254, 255]))
    )
)
def test_any_small_map(image: np.ndarray) -> None:
    agree(image)


def structured(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps of the kinds that networks and adversaries make."""
    y, x = np.mgrid[:48, :40]
    smooth = cv2.resize(rng.random((6, 5), np.float32), (40, 48), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    rings = (np.hypot(x - 18, y - 22) / 3).astype(int) % 3 * 100
    return {
        "smooth": 255 * smooth,
        "noise": rng.integers(0, 256, (48, 40)),
        "plateaus": (smooth * 5).astype(int) * 50,
        "sparse": (rng.random((48, 40)) < 0.1) * rng.integers(1, 5, (48, 40)),
        "percolating": (rng.random((48, 40)) < 0.55) * rng.integers(1, 256, (48, 40)),
        "rings": rings + rng.integers(0, 3, (48, 40)),
        "checkerboard": (x + y) % 2 * rng.integers(100, 103, (48, 40)),
        "lines": (x % 3 == 0) * rng.integers(1, 4, (48, 40)),
        "border": ((x == 0) | (y == 0) | (x == 39) | (y == 47)) * 200 + rng.integers(0, 2, (48, 40)),
        "constant": np.full((48, 40), 7),
    }


@pytest.mark.parametrize("kind", structured(np.random.default_rng(0)))
def test_structured_maps(kind: str) -> None:
    for seed in range(8):
        agree(structured(np.random.default_rng(seed))[kind].astype(np.uint8))


def test_thresholds_need_not_be_distinct_and_maps_do_not_mix() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 9, 11), np.uint8)
    thresholds = np.sort(rng.integers(0, 256, (5, 40)), axis=1)
    boxes = largest_contour_boxes(images, thresholds)
    for image, levels, found in zip(images, thresholds, boxes, strict=True):
        assert [tuple(box) for box in found.tolist()] == [by_opencv(image, level) for level in levels]
