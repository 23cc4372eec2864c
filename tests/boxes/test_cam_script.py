"""The released program's rule, written down a second time with OpenCV, by hand, and on the authors' sample."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from wsol.boxes.cam_script import cam_script_boxes


def plainly(gray: np.ndarray) -> list[list[int]]:
    """Return all boxes as half-open edges."""
    height, width = gray.shape
    rectangles = []
    for level in (20, 100, 110):
        distance = cv2.distanceTransform((gray > level).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        shrunk = (cv2.convertScaleAbs(distance, alpha=255 / max(distance.max(), 1e-9)) > 10).astype(np.uint8)
        shrunk[[0, -1]] = shrunk[:, [0, -1]] = 0
        contours, _ = cv2.findContours(shrunk, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for x, y, w, h in map(cv2.boundingRect, contours):
            rectangles.append((x, y, min(w, width - 5 - x), min(h, height - 5 - y)))
    rectangles = sorted((r for r in rectangles if min(r[2:]) >= 0), key=lambda r: -r[2] * r[3])
    i = 0
    while i < len(rectangles):
        x, y, w, h = rectangles[i]
        j = i + 1
        while j < len(rectangles):
            a, b, c, d = rectangles[j]
            shared = max(0, min(x + w, a + c) - max(x, a)) * max(0, min(y + h, b + d) - max(y, b))
            if shared > w * h / 2:
                del rectangles[j]
            j += 1
        i += 1
    return [[x, y, x + w + 1, y + h + 1] for x, y, w, h in rectangles]


def maps() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    drawn = []
    for sigma in (3, 6, 9, 14):
        for _ in range(15):
            values = gaussian_filter(rng.normal(size=(150, 190)), sigma)
            drawn.append((255 * (values - values.min()) / np.ptp(values)).astype(np.uint8))
    ring = np.zeros((150, 190), np.uint8)
    cv2.circle(ring, (95, 75), 55, 255, 40)
    return [*drawn, ring]


def test_same_boxes_as_opencv() -> None:
    compared = 0
    for gray in maps():
        found, expected = cam_script_boxes(gray), plainly(gray)
        areas = [(b[2] - b[0] - 1) * (b[3] - b[1] - 1) for b in expected]
        unique = next((i for i in range(1, len(areas)) if areas[i] == areas[i - 1]), len(areas) + 1) - 1
        assert found[:unique].tolist() == expected[:unique]  # of equal areas, OpenCV has another one first
        compared += unique
    assert compared > 100


def test_the_authors_sample(real_data: Path) -> None:
    """Their program writes x, y, width, height 41 145 362 202 and 102 188 242 126 for it."""
    gray = np.asarray(Image.open(real_data / "zhou2016" / "heatmap_6.jpg").convert("L"))
    corners = cam_script_boxes(gray) - [0, 0, 1, 1]
    assert corners.tolist() == [[41, 145, 41 + 362, 145 + 202], [102, 188, 102 + 242, 188 + 126]]


def test_by_hand() -> None:
    gray = np.zeros((100, 100), np.uint8)
    gray[10:61, 20:91] = 50
    # 51 rows: the largest distance is 26. At the distance 1 it is 255 / 26 = 9.8, not above 10: one pixel on each side.
    assert cam_script_boxes(gray).tolist() == [[21, 11, 91, 61]]
    # 30 x 30: the largest distance is 15, and 255 / 15 = 17: no pixel goes. The same in two masks; one of them goes.
    gray[30:60, 30:60] = 200
    assert cam_script_boxes(gray).tolist() == [[21, 11, 91, 61], [30, 30, 61, 61]]


def test_after_a_removal_the_next_one_is_skipped() -> None:
    gray = np.zeros((100, 100), np.uint8)
    gray[10:70, 10:70] = 50  # 60 x 60: 255 / 30 = 8.5; one pixel on each side goes, 58 x 58 remain
    gray[15:65, 15:65] = 105  # 50 x 50: 255 / 25 = 10.2, 10; 48 x 48 remain
    gray[17:63, 17:63] = 200  # 46 x 46: 255 / 23 = 11.1; all remain
    # Both smaller ones cover more than half of the first, 1682 pixels: 2304 goes, 2116 takes its place and is skipped.
    assert cam_script_boxes(gray).tolist() == [[11, 11, 70, 70], [17, 17, 64, 64]]


def test_the_border_is_background_of_contours_but_not_of_distances() -> None:
    gray = np.zeros((60, 60), np.uint8)
    gray[:40, :30] = 60
    # The largest distance is 30, at the corner; 255 / 30 = 8.5, so column 29 and row 39 go. Contours start at pixel 1.
    assert cam_script_boxes(gray).tolist() == [[1, 1, 30, 40]]


@pytest.mark.parametrize(("value", "count"), [(0, 0), (20, 0), (21, 1), (255, 2)])
def test_boxes_end_before_the_right_and_bottom_border(value: int, count: int) -> None:
    # All of a flat map remains: 1 to 38 and 1 to 28, cut at 40 - 5 and 30 - 5. Of three equal boxes one is skipped.
    assert cam_script_boxes(np.full((30, 40), value, np.uint8)).tolist() == [[1, 1, 36, 26]] * count


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 2), (3, 3), (5, 6), (8, 30)])
def test_tiny_maps(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        boxes = cam_script_boxes(rng.integers(0, 256, shape).astype(np.uint8))
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes <= [shape[1], shape[0]] * 2).all()
