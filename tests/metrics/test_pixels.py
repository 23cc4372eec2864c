"""Pixel metrics by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from wsol.boxes.resize import cubic_taps, resize_and_normalize
from wsol.datasets import Mask
from wsol.metrics.base import METRICS, LocalizationStats
from wsol.metrics.pixels import average_precision
from wsol.metrics.summary import summarize
from wsol.protocols import find_protocol

NOTHING = np.zeros((224, 224), bool)


def stats_of(pixels: np.ndarray, levels: int) -> LocalizationStats:
    n = len(pixels)
    return LocalizationStats(np.zeros((n, levels), np.float32), 0.5, np.zeros(n, int), pixels=pixels)


def images(n: int, seed: int = 0) -> list[tuple[np.ndarray, Mask]]:
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(n):
        score_map = resize_and_normalize(rng.random((1, 14, 14)).astype(np.float32), (224, 224), cubic_taps)[0]
        foreground = score_map + rng.normal(0, 0.3, (224, 224)) > 0.6
        drawn.append((score_map, Mask(foreground, (rng.random((224, 224)) < 0.1) & ~foreground)))
    return drawn


@pytest.mark.parametrize("protocol", ["wsolevaluation", "wsolevaluation:step=0.01", "exact", "exact:levels=11"])
def test_pxap_is_the_average_precision_of_scores_cut_down_to_the_grid(protocol: str) -> None:
    found = find_protocol(protocol)
    drawn = images(3)
    pixels = np.stack([found.count_pixels(score_map, lambda m=mask: m) for score_map, mask in drawn])
    scores, truth = [], []
    for score_map, mask in drawn:
        counted = ~mask.ignore
        values = score_map[counted].astype(np.float64)
        below = found.taus[found.taus < 1]
        floor = below[np.searchsorted(below, values, side="right") - 1]
        scores.append(np.where(values >= 1, 1, floor))
        truth.append(mask.foreground[counted])
    expected = average_precision_score(np.concatenate(truth), np.concatenate(scores))
    table = summarize(stats_of(pixels, len(found.taus)), found.taus, 0.2).set_index("metric")
    assert table.loc["pxap", "value"] == pytest.approx(100 * expected, rel=1e-9)
    assert table.loc["pxap", "ci_low"] < table.loc["pxap", "value"] < table.loc["pxap", "ci_high"]
    assert pixels.sum() == sum((~mask.ignore).sum() for _, mask in drawn)


def test_pxap_by_hand() -> None:
    # From the highest score down: 2 of the object; 1 and 1; nothing; 1 of the object and 4 not.
    shares = np.array([[1, 4], [0, 0], [1, 1], [2, 0]], float).ravel()
    # P = 1, 3/4, 3/4, 4/9; R = 1/2, 3/4, 3/4, 1
    assert average_precision(shares) == pytest.approx(0.5 + 0.25 * 3 / 4 + 0.25 * 4 / 9)
    assert average_precision(shares / 77) == pytest.approx(average_precision(shares))
    empty_on_top = np.concatenate([shares, [0, 0]])
    assert average_precision(empty_on_top) == pytest.approx(average_precision(shares))


def test_without_foreground_there_is_no_number() -> None:
    assert np.isnan(average_precision(np.array([0, 3, 0, 1.0])))


def test_a_score_on_an_edge_belongs_to_the_bin_above_it() -> None:
    protocol = find_protocol("wsolevaluation:step=0.01")
    score_map = np.zeros((224, 224))
    score_map[0, :3] = 1, 0.5, np.nextafter(0.5, 0)
    counts = protocol.count_pixels(score_map, lambda: Mask(~NOTHING, NOTHING))
    assert [(i, int(counts[i, 0])) for i in np.flatnonzero(counts[:, 0])] == [
        (0, 224 * 224 - 3),
        (49, 1),
        (50, 1),
        (100, 1),
    ]


def test_ignored_pixels_have_no_part_unless_they_are_the_object() -> None:
    protocol = find_protocol("wsolevaluation")
    foreground, ignore = NOTHING.copy(), NOTHING.copy()
    foreground[:10] = True
    ignore[5:30] = True
    counts = protocol.count_pixels(np.ones((224, 224), np.float32), lambda: Mask(foreground, ignore))
    assert counts[-1].tolist() == [10 * 224, (224 - 30) * 224]


def test_masks_of_another_size_are_resized_by_nearest_neighbor() -> None:
    small = np.zeros((4, 4), bool)
    small[1, 2] = True
    counts = find_protocol("wsolevaluation").count_pixels(
        np.ones((224, 224), np.float32), lambda: Mask(small, np.zeros_like(small))
    )
    assert counts[-1].tolist() == [56 * 56, 224 * 224 - 56 * 56]


def test_pixel_iou_by_hand() -> None:
    # Foreground 4, background 6, at taus 0, 0.5 and from 1 on: masks of 10, 5 and 2 pixels.
    pixels = np.array([[[1, 4], [1, 2], [2, 0]], [[0, 5], [0, 0], [0, 0]]], np.uint32)
    taus = np.array([0, 0.5])
    table = summarize(stats_of(pixels, 2), taus, 0.5)
    found = {(r.metric, r.tau_rule): (r.tau, r.value) for r in table.itertuples()}
    # Image 0: 4 / 10 at 0, 3 / (4 + 2) at 0.5. Image 1 has no object: 0 / 5, then nothing against nothing.
    assert found["pixel_iou", "fixed"] == (0.5, pytest.approx(100 * (0.5 + 1) / 2))
    assert found["peak_iou", "oracle"] == (0.5, pytest.approx(75))
    mean = [r.value for r in table.itertuples() if r.metric == "mean_pixel_iou"]
    assert mean == [pytest.approx(100 * (0.45 + 0.5) / 2)]


def test_pixel_iou_is_that_of_the_masks() -> None:
    protocol = find_protocol("exact:levels=21")
    (score_map, mask), *_ = images(1, seed=4)
    found = METRICS.get("pixel_iou").per_image(stats_of(protocol.count_pixels(score_map, lambda: mask)[None], 21))[0]
    for tau, iou in zip(protocol.taus, found, strict=True):
        predicted = (score_map.astype(np.float64) >= tau) & ~mask.ignore
        assert iou == pytest.approx((predicted & mask.foreground).sum() / (predicted | mask.foreground).sum())


@given(st.lists(st.booleans(), min_size=2, max_size=12).filter(lambda order: True in order), st.integers(0, 10))
def test_a_pixel_of_the_object_that_overtakes_another_never_lowers_pxap(order: list[bool], place: int) -> None:
    def area(order: list[bool]) -> float:
        return float(average_precision(np.array([[own, not own] for own in order], float).ravel()))

    place = min(place, len(order) - 2)
    better = order.copy()
    better[place : place + 2] = sorted(order[place : place + 2])  # ascending scores, one pixel each
    assert area(better) >= area(order) - 1e-12
