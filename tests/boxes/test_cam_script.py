"""The released script's rule, written down a second time with OpenCV."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wsol.boxes.cam_script import cam_script_boxes


def plainly(gray: np.ndarray) -> list[tuple[int, int, int, int]]:
    rectangles = []
    for level in (20, 100, 110):
        mask = (gray > level).astype(np.uint8)
        near = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > 10
        contours, _ = cv2.findContours(near.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        rectangles += [cv2.boundingRect(contour) for contour in contours]
    kept: list[tuple[int, int, int, int]] = []
    for x, y, w, h in sorted(rectangles, key=lambda r: -r[2] * r[3]):
        shared = [max(0, min(x + w, b[2]) - max(x, b[0])) * max(0, min(y + h, b[3]) - max(y, b[1])) for b in kept]
        if not any(s > (b[2] - b[0]) * (b[3] - b[1]) / 2 for s, b in zip(shared, kept, strict=True)):
            kept.append((x, y, x + w, y + h))
    return kept


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
    several = 0
    for gray in maps():
        found, expected = cam_script_boxes(gray), plainly(gray)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in expected]
        assert len(found) == len(expected)
        if len(set(areas)) == len(areas):  # where areas are equal, OpenCV's order of contours is another
            assert found.tolist() == [list(b) for b in expected]
        several += len(found) > 1
    assert several > 20


def test_by_hand() -> None:
    gray = np.zeros((100, 100), np.uint8)
    gray[10:61, 20:91] = 50
    # More than ten pixels from the background: ten pixels go on each side.
    assert cam_script_boxes(gray).tolist() == [[30, 20, 81, 51]]
    gray[30:60, 30:60] = 200  # a brighter part inside: its box is no more than a part of the larger one
    assert cam_script_boxes(gray).tolist() == [[30, 20, 81, 51], [40, 40, 50, 50]]


def test_a_region_at_the_border_is_not_cut_there() -> None:
    gray = np.zeros((60, 60), np.uint8)
    gray[:40, :30] = 255
    assert cam_script_boxes(gray)[0].tolist() == [0, 0, 20, 30]


@pytest.mark.parametrize(("value", "expected"), [(0, []), (20, []), (21, [[0, 0, 40, 30]]), (255, [[0, 0, 40, 30]])])
def test_flat_maps(value: int, expected: list[list[int]]) -> None:
    assert cam_script_boxes(np.full((30, 40), value, np.uint8)).tolist() == expected
