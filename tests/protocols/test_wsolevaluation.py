"""The protocol against its definition, written down a second time with OpenCV, and against the published figures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wsol.datasets import Sample, load_dataset
from wsol.datasets.base import as_boxes
from wsol.metrics.iou import best_iou
from wsol.protocols import PROTOCOLS

PROTOCOL = PROTOCOLS.get("wsolevaluation")


def inclusive_iou(a: np.ndarray, b: np.ndarray) -> float:
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return w * h / (sum(areas) - w * h)


def boxes_by_definition(score_map: np.ndarray, tau: float) -> list[tuple[int, int, int, int]]:
    """All boxes, that of the largest contour first."""
    u8 = (score_map * 255).astype(np.uint8)
    contours, _ = cv2.findContours((u8 > int(tau * u8.max())).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0, 0, 0, 0)]
    rectangles = [cv2.boundingRect(c) for c in [max(contours, key=cv2.contourArea), *contours]]
    return [(x, y, min(x + w, 223), min(y + h, 223)) for x, y, w, h in rectangles]


def test_ground_truth_by_hand() -> None:
    # 448 x 112: x halves, y doubles. 7 -> 3.5 -> 3; 447 -> 223.5 -> 223; 448 is clipped to 447 first.
    sample = Sample("a", 0, as_boxes([[7, 3, 448, 111], [0, 0, 1, 1]]), "inclusive")
    assert PROTOCOL.ground_truth(sample, (448, 112)).tolist() == [[3, 6, 224, 223], [0, 0, 1, 3]]


def test_boxes_reach_the_last_pixel_but_not_past_it() -> None:
    corner = np.zeros((1, 224, 224), np.float32)
    corner[0, 200:, 210:] = 1
    # x = 210, w = 14: x + w = 224 is cut to the inclusive corner 223, the edge 224.
    assert PROTOCOL.boxes(corner, np.array([0.5])).tolist() == [[[210, 200, 224, 224]]]
    inner = np.zeros((1, 224, 224), np.float32)
    inner[0, 10:20, 30:50] = 1
    # x + w = 50 is taken as an inclusive corner: their box is a pixel too large, and so is ours.
    assert PROTOCOL.boxes(inner, np.array([0.5])).tolist() == [[[30, 10, 51, 21]]]


def test_no_contour_is_the_first_pixel() -> None:
    flat = PROTOCOL.prepare(np.ones((1, 14, 14), np.float32), (50, 40))
    assert PROTOCOL.boxes(flat, np.array([0.2])).tolist() == [[[0, 0, 1, 1]]]


def cubic_matrix(source: int, target: int = 224, a: float = -0.75) -> np.ndarray:
    """Keys' cubic convolution, pixel centers at half-integers, the border repeated."""
    matrix = np.zeros((target, source))
    for i in range(target):
        center = (i + 0.5) * source / target - 0.5
        for j in range(int(np.floor(center)) - 1, int(np.floor(center)) + 3):
            t = abs(center - j)
            near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
            matrix[i, min(max(j, 0), source - 1)] += near if t <= 1 else far if t < 2 else 0
    return matrix


@pytest.mark.slow
def test_curves_follow_the_definition_at_every_threshold() -> None:
    rng = np.random.default_rng(3)
    truth = np.array([[40, 30, 150, 180], [100, 5, 220, 90]])
    maps = [rng.normal(size=(14, 14)), rng.random((13, 13)) ** 4, np.eye(7), np.ones((5, 5)), rng.random((224, 224))]
    for raw in maps:
        raw32 = raw.astype(np.float32)
        # In double precision, rounded once.
        big = cubic_matrix(raw.shape[0]) @ raw32.astype(np.float64) @ cubic_matrix(raw.shape[1]).T
        span = big.max() - big.min()
        score = ((big - big.min()) / span if np.ptp(raw) > 0 else np.zeros_like(big)).astype(np.float32)
        taus = PROTOCOL.taus if raw.shape[0] < 224 else PROTOCOL.taus[::97]
        prepared = PROTOCOL.prepare(raw32[None], (9, 9))
        np.testing.assert_allclose(prepared[0], score, rtol=0, atol=6e-8)  # half a unit of the last place
        score = prepared[0]
        boxes = PROTOCOL.boxes(prepared, taus)[0]
        ious = best_iou(boxes, np.add(truth, [0, 0, 1, 1]))
        stats = PROTOCOL.score_map_stats(prepared[0], np.add(truth, [0.0, 0, 1, 1]))
        for tau, iou in zip(taus, ious, strict=True):
            found = [max(inclusive_iou(np.array(box), t) for t in truth) for box in boxes_by_definition(score, tau)]
            assert iou == pytest.approx(found[0], abs=1e-12), tau
            tau_index = round(tau * 1000)
            assert stats.curve[tau_index] == pytest.approx(found[0], abs=1e-6), tau
            assert stats.contours[tau_index] == pytest.approx(max(found), abs=1e-6), tau


@pytest.mark.parametrize(("lists", "accuracy"), [("ILSVRC", 50.360), ("CUB", 45.200)])
def test_center_gaussian_reference(real_data: Path, lists: str, accuracy: float) -> None:
    y, x = np.mgrid[:224, :224]
    gaussian = np.exp(-((x - 111.5) ** 2 + (y - 111.5) ** 2) / (2 * 112**2)).astype(np.float32)
    boxes = PROTOCOL.boxes(PROTOCOL.prepare(gaussian[None], (1, 1)), PROTOCOL.taus)[0]
    images = load_dataset("metadata", real_data / "metadata" / lists, "val")
    curves = np.stack([best_iou(boxes, PROTOCOL.ground_truth(s, s.size)) for s in images])
    hits = [100 * (curves >= delta).mean(0).max() for delta in (0.3, 0.5, 0.7)]
    assert hits[1] == pytest.approx(accuracy, abs=5e-4)
    # A Gaussian has one contour, so V2's boxes are V1's here.
    assert hits == pytest.approx({"ILSVRC": [74.940, 50.360, 25.660], "CUB": [87.700, 45.200, 9.400]}[lists], abs=5e-4)
