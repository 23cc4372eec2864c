"""Properties of all maps under all protocols."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsol.boxes.components import largest_component_boxes
from wsol.boxes.contour_curves import contour_curves
from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.thresholds import highest_tau_below, uint8_thresholds
from wsol.metrics.iou import best_iou, iou
from wsol.protocols import find_protocol

SIDE = 20
SMALL = find_protocol(f"wsolevaluation:size={SIDE}")
GRAYS = arrays(np.uint8, (SIDE, SIDE), elements=st.integers(0, 5)).map(lambda a: a * np.uint8(51))
LEVELS = arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 5))
TRUTH = np.array([[2.0, 3, 8, 9]])


def best_contour_ious(tau_indices: np.ndarray, count: int, truth: np.ndarray) -> np.ndarray:
    """Return the best IoU of any contour in the masks ``tau_indices >= t``."""
    maps = (tau_indices + 1).astype(np.uint8)[None]
    return contour_curves(maps, np.arange(count)[None], truth, np.array([len(truth)]))[2][0]


def inclusive_ious(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Best IoU of each box, with the + 1 of inclusive corners."""
    a, b = boxes[:, None], truth[None]
    w, h = (
        np.maximum(0, np.minimum(a[..., i + 2], b[..., i + 2]) - np.maximum(a[..., i], b[..., i]) + 1) for i in (0, 1)
    )
    areas = [(c[..., 2] - c[..., 0] + 1) * (c[..., 3] - c[..., 1] + 1) for c in (a, b)]
    return (w * h / (areas[0] + areas[1] - w * h)).max(1)


def check_by_opencv(gray: np.ndarray) -> None:
    """Compare the curves V1 and V2 at every tau with OpenCV, by the definitions of Choe et al."""
    truth = np.array([[3, 2, 13, 10], [9, 8, 17, 19]])
    score_map = gray.astype(np.float64) / 255
    gray = (score_map * 255).astype(np.uint8)
    stats = SMALL.score_map_stats(score_map, np.add(truth, [0.0, 0, 1, 1]))
    known: dict[int, tuple[float, float]] = {}
    limits = [int(tau * gray.max()) for tau in SMALL.taus]
    for limit in limits:
        if limit not in known:
            mask = (gray > limit).astype(np.uint8)
            contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            chosen = [max(contours, key=cv2.contourArea), *contours] if contours else []
            boxes = [(x, y, min(x + w, SIDE - 1), min(y + h, SIDE - 1)) for x, y, w, h in map(cv2.boundingRect, chosen)]
            found = inclusive_ious(np.array(boxes or [(0, 0, 0, 0)]), truth)
            known[limit] = found[0], found.max()
    expected = np.array([known[limit] for limit in limits])
    np.testing.assert_allclose(np.stack([stats.curve, stats.contours], 1), expected, atol=1e-6)


def many() -> list[np.ndarray]:
    """2,000 maps: smooth, noise, plateaus, constants, single pixels, rings, lines, checkerboards, borders."""
    rng = np.random.default_rng(0)
    maps = [np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 255, np.uint8)]
    maps.append((np.indices((SIDE, SIDE)).sum(0) % 2 * 255).astype(np.uint8))
    for _ in range(600):
        grain = int(rng.integers(2, 12))
        large = cv2.resize(rng.random((grain, grain)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        maps.append((255 * (large - large.min()) / np.ptp(large)).astype(np.uint8))
    for steps in (2, 3, 6, 40, 256):
        maps += [*(rng.integers(0, steps, (150, SIDE, SIDE)) * (255 // (steps - 1))).astype(np.uint8)]
    for _ in range(650):
        drawn = np.zeros((SIDE, SIDE), np.uint8)
        for _ in range(rng.integers(1, 5)):
            (x0, y0, x1, y1), value = rng.integers(0, SIDE, 4).tolist(), int(rng.integers(1, 256))
            kind = rng.integers(0, 5)
            if kind == 0:
                cv2.line(drawn, (x0, y0), (x1, y1), value)
            elif kind == 1:
                cv2.circle(drawn, (x0, y0), int(rng.integers(1, 10)), value, int(rng.integers(1, 3)))
            elif kind == 2:
                cv2.rectangle(drawn, (x0, y0), (x1, y1), value, int(rng.integers(1, 3)))
            elif kind == 3:
                drawn[y0, x0] = value
            else:
                drawn[[0, -1]] = drawn[:, [0, -1]] = value
        maps.append(drawn)
    return maps


PARTS = [pytest.param(part, marks=pytest.mark.sweep if part else pytest.mark.slow) for part in range(4)]


@pytest.mark.parametrize("part", PARTS)
def test_thousands_of_maps_agree_with_opencv_at_every_threshold(part: int) -> None:
    maps = many()
    assert len(maps) > 2000
    for gray in maps[part::4]:
        check_by_opencv(gray)


@settings(max_examples=150, deadline=None)
@given(GRAYS)
def test_hypothesis_finds_no_map_that_disagrees(gray: np.ndarray) -> None:
    check_by_opencv(gray)


@settings(max_examples=60, deadline=None)
@given(LEVELS, st.integers(0, 3), st.integers(0, 3))
def test_moving_map_and_box_together_changes_nothing(tau_indices: np.ndarray, dx: int, dy: int) -> None:
    moved = np.pad(tau_indices, ((dy, 4 - dy), (dx, 4 - dx)), constant_values=-1)
    still = np.pad(tau_indices, ((0, 4), (0, 4)), constant_values=-1)
    shift = np.array([dx, dy, dx, dy])
    before, after = (largest_component_boxes(m, 6) for m in (still, moved))
    there = before.any(1)
    assert (after[there] == before[there] + shift).all()
    assert not after[~there].any()
    ious = best_contour_ious(still, 6, TRUTH)
    assert (best_contour_ious(moved, 6, TRUTH + shift)[there] == ious[there]).all()
    masks = [(m + 1).astype(np.uint8)[None] for m in (still, moved)]
    limits = np.arange(6)[None]
    before, after = (largest_contour_boxes(m, limits)[0] for m in masks)
    assert (after[there] == before[there] + shift).all()


@settings(max_examples=60, deadline=None)
@given(LEVELS)
def test_flipping_and_transposing_change_nothing(tau_indices: np.ndarray) -> None:
    w = tau_indices.shape[1]
    ious = best_contour_ious(tau_indices, 6, TRUTH)
    flipped = TRUTH[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [w, 0, w, 0]
    # Without a component the box is the empty rectangle in a corner, whichever way round: IoU 0.
    assert best_contour_ious(np.ascontiguousarray(tau_indices[:, ::-1]), 6, flipped) == pytest.approx(ious)
    assert best_contour_ious(np.ascontiguousarray(tau_indices.T), 6, TRUTH[:, [1, 0, 3, 2]]) == pytest.approx(ious)
    sizes = [(tau_indices >= k).sum() for k in range(6)]
    boxes, turned = (
        largest_component_boxes(tau_indices, 6),
        largest_component_boxes(np.ascontiguousarray(tau_indices.T), 6),
    )
    assert [box.any() for box in boxes] == [size > 0 for size in sizes]
    if not ties(tau_indices):
        assert (turned == boxes[:, [1, 0, 3, 2]]).all()


def ties(tau_indices: np.ndarray) -> bool:
    """Says whether two components are largest in some mask: which of them comes first depends on the direction."""
    for k in range(6):
        _, _, stats, _ = cv2.connectedComponentsWithStats((tau_indices >= k).astype(np.uint8), connectivity=8)
        areas = sorted(stats[1:, cv2.CC_STAT_AREA])
        if len(areas) > 1 and areas[-1] == areas[-2]:
            return True
    return False


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (7, 8), elements=st.integers(0, 12).map(float)), st.integers(0, 2))
def test_a_strictly_increasing_transform_keeps_the_set_of_boxes(values: np.ndarray, kind: int) -> None:
    transform = (np.exp, lambda v: v**3 + 5 * v, lambda v: np.log1p(v) * 3)[kind]
    sets = []
    for score_map in (values, transform(values)):
        taus = np.unique(score_map)  # all values that the map takes
        boxes = largest_component_boxes(highest_tau_below(score_map - taus[0], taus - taus[0]), len(taus))
        sets.append({tuple(box) for box in boxes.tolist()})
    assert sets[0] == sets[1]
    grays = values.astype(np.uint8), (2 * values + 7).astype(np.uint8)
    every = [{tuple(box) for box in largest_contour_boxes(g[None], np.arange(256)[None])[0].tolist()} for g in grays]
    assert every[0] - {(0, 0, 8, 7)} == every[1] - {(0, 0, 8, 7)}  # below the lowest value the mask is all


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4), st.integers(0, 3), st.integers(1, 9))
def test_a_better_box_never_scores_worse(corners: list[int], side: int, step: int) -> None:
    """Moving one side of a box towards that of the ground truth, never past it, raises the IoU or keeps it."""
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    box, truth = np.array([x0, y0, x1 + 1, y1 + 1], float), np.array([8.0, 6, 20, 25])
    if iou(box, truth) == 0:
        return
    better = box.copy()
    better[side] += np.clip(truth[side] - box[side], -step, step)
    assert iou(better, truth) >= iou(box, truth)
    assert best_iou(better, truth[None]) == iou(better, truth)


def test_masks_repeat_with_the_integer_levels() -> None:
    """At most 255 masks differ: a step of 0.0005 gives the curve of 0.001 with every value twice or so."""
    gray = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE)).astype(np.uint8)
    limits = uint8_thresholds(np.arange(0, 1, 0.0005), gray.max(axis=(1, 2)))
    masks = {(gray > limit).tobytes() for limit in limits[0]}
    assert len(masks) <= len(np.unique(limits)) <= 255
