"""Original geometry, compared with skimage's labeling."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import label, regionprops

from wsol.datasets import Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.base import METRICS, LocalizationStats
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
