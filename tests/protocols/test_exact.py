"""Original geometry, compared with skimage's labeling."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import label, regionprops

from wsol.datasets import Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.base import METRICS, LocalizationStats
from wsol.metrics.summary import best_tau_index, summarize
from wsol.protocols import PROTOCOLS, find_protocol

EXACT = PROTOCOLS.get("exact")


def box_by_definition(score_map: np.ndarray, tau: float) -> list[int]:
    regions = regionprops(label(score_map.astype(np.float64) > tau, connectivity=2))
    if not regions:
        return [0, 0, 0, 0]
    y0, x0, y1, x1 = max(regions, key=lambda region: (region.area, -region.label)).bbox
    return [x0, y0, x1, y1]


def iou(a: list[float], b: list[float]) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_boxes_and_curves_follow_the_definition_at_every_level() -> None:
    rng = np.random.default_rng(0)
    raw = [gaussian_filter(rng.normal(size=(14, 14)), 1), rng.random((40, 30)), np.eye(6), np.ones((3, 3))]
    truth = np.array([[3.5, 2.25, 20, 31.75], [1, 1, 8, 9]])
    for values in raw:
        prepared = EXACT.prepare(values.astype(np.float32)[None], (30, 40))
        stats = EXACT.score_map_stats(prepared[0], truth)
        boxes = EXACT.boxes(prepared, EXACT.taus)[0]
        assert (len(EXACT.taus), EXACT.taus[0], EXACT.taus[51], EXACT.taus[-1]) == (256, 0, 0.2, 1)
        for tau_index, tau in enumerate(EXACT.taus):
            expected = box_by_definition(prepared[0], tau)
            assert boxes[tau_index].tolist() == stats.boxes[tau_index].tolist() == expected
            assert stats.curve[tau_index] == pytest.approx(max(iou(expected, t) for t in truth.tolist()), abs=1e-7)


@pytest.mark.parametrize("levels", [2, 11, 256, 1001])
def test_a_perfect_mask_scores_100_at_every_tau_below_1(levels: int) -> None:
    protocol = find_protocol(f"exact:levels={levels}")
    mask = np.zeros((61, 83), bool)
    mask[10:40, 7:80] = True
    mask[20:25, 30:35] = False
    sample = Sample("a", 0, as_boxes([[7, 10, 80, 40]]), "edges", size=(83, 61))
    truth = protocol.ground_truth(sample, (83, 61))
    prepared = protocol.prepare(mask.astype(np.float32)[None], (83, 61))[0]
    stats = protocol.score_map_stats(prepared, truth)
    assert (stats.curve[:-1] == 1).all()
    assert stats.curve[-1] == 0  # nothing lies above 1
    assert stats.peak_inside
    pixels = protocol.count_pixels(prepared, lambda: Mask(mask, np.zeros_like(mask)))
    run_stats = LocalizationStats(stats.curve[None], 0.5, np.zeros(1, int), pixels=pixels[None])
    pxap = METRICS.get("pxap")
    assert pxap.aggregate(pxap.per_image(run_stats).mean(0)) == 1
    assert (METRICS.get("pixel_iou").per_image(run_stats)[0, 1:] == 1).all()


def test_the_frame_is_the_annotations_and_nothing_is_truncated() -> None:
    assert EXACT.frame((500, 375)) == (500, 375)
    sample = Sample("a", 0, as_boxes([[0.25, 3, 10.5, 7]]), "inclusive", size=(500, 375))
    assert EXACT.ground_truth(sample, (500, 375)).tolist() == [[0.25, 3, 11.5, 8]]
    assert EXACT.prepare(np.zeros((2, 14, 14), np.float32), (500, 375)).shape == (2, 375, 500)


def test_maps_of_any_size_and_range_are_taken() -> None:
    raw = np.random.default_rng(0).normal(size=(20, 30)) * 50
    np.testing.assert_array_equal(
        EXACT.prepare_external(raw.astype(np.float32), (60, 40), False),
        EXACT.prepare(raw.astype(np.float32)[None], (60, 40))[0],
    )
    for bad, sentence in (
        (np.zeros((2, 3, 4)), "has the shape"), (np.zeros((0, 4)), "has the shape"),
        (np.array([[1, np.nan]]), "1 values that are not finite"), (np.array([["a"]]), "not numbers"),
        (np.ones((2, 2), complex), "not numbers"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            EXACT.prepare_external(bad, (60, 40), False)


@pytest.mark.parametrize("tau", [0.5, 0.1, 0.3, 1 / 7, 0.9999])
def test_a_tau_that_is_not_on_the_grid_is_evaluated_itself(tau: float) -> None:
    protocol = EXACT.including(tau)
    assert find_protocol(protocol.signature) == protocol
    assert protocol.signature.startswith("exact:levels=256,also=0.")
    assert len(protocol.taus) == 257
    assert protocol.taus[protocol.off_grid] == tau
    assert (np.diff(protocol.taus) > 0).all()
    rng = np.random.default_rng(0)
    masks = rng.random((3, 40, 30)) < 0.4
    stats, both = [], (EXACT, protocol)
    for each in both:
        images = []
        for seed, mask in enumerate(masks):
            raw = gaussian_filter(np.random.default_rng(seed).normal(size=(14, 14)), 1).astype(np.float32)
            prepared = each.prepare(raw[None], (30, 40))[0]
            found = each.score_map_stats(prepared, np.array([[3.5, 2.25, 20, 31.75]]))
            pixels = each.count_pixels(prepared, lambda mask=mask: Mask(mask, np.zeros_like(mask)))
            images.append((found.curve, pixels, box_by_definition(prepared, tau), found.boxes))
        curves, pixels = (np.stack([image[k] for image in images]) for k in (0, 1))
        stats.append(LocalizationStats(curves, 0.5, np.zeros(3, int), pixels=pixels, off_grid=each.off_grid))
        if each is protocol:
            assert [image[3][each.off_grid].tolist() for image in images] == [image[2] for image in images]
    plain, asked = stats
    for name in ("curves", "pixels"):
        np.testing.assert_array_equal(getattr(asked.on_grid, name), getattr(plain, name))
    rows = [summarize(s, p.taus, t) for s, p, t in ((plain, EXACT, 0.2), (asked, protocol, tau))]
    before, after = (table[table.tau_rule != "fixed"].reset_index(drop=True) for table in rows)
    pd.testing.assert_frame_equal(before, after)  # what the user asks for moves no other number
    fixed = rows[1][rows[1].tau_rule == "fixed"].set_index("metric")
    assert set(fixed.tau) == {round(tau, 9)}
    ious = [iou(image[2], [3.5, 2.25, 20, 31.75]) for image in images]
    assert fixed.loc["mean_iou", "value"] == pytest.approx(100 * np.mean(ious), abs=1e-4)
    reached = [prepared_pixels(seed) >= tau for seed in range(3)]
    by_hand = [(mask & r).sum() / (mask | r).sum() for mask, r in zip(masks, reached, strict=True)]
    assert fixed.loc["pixel_iou", "value"] == pytest.approx(100 * np.mean(by_hand), abs=1e-4)


def prepared_pixels(seed: int) -> np.ndarray:
    raw = gaussian_filter(np.random.default_rng(seed).normal(size=(14, 14)), 1).astype(np.float32)
    return EXACT.prepare(raw[None], (30, 40))[0].astype(np.float64)


def test_a_tau_on_the_grid_needs_nothing() -> None:
    for tau in (0.2, 0.0, 1.0, 0.2000000001, "val", "oracle", 2.0, -0.1, float("nan")):
        assert EXACT.including(tau) == EXACT
    assert find_protocol("exact:levels=11").including(0.3).off_grid is None
    assert find_protocol("exact:levels=11").including(0.25).signature == "exact:levels=11,also=0.25,norm=minmax"
    for name in ("wsolevaluation:step=0.01", "zhou2016"):  # their grids are those of their authors
        assert find_protocol(name).including(0.142) == find_protocol(name)


def test_the_best_tau_is_one_of_the_grid() -> None:
    curves = np.array([[0.1, 0.9, 0.2, 0.6]], np.float32)
    stats = LocalizationStats(curves, 0.5, np.zeros(1, int), off_grid=1)
    assert best_tau_index(METRICS.get("gt_known_loc_acc"), stats) == 3
