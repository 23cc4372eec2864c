"""Metrics of attributions: 4 x 4 maps by hand, properties, and against scikit-learn and Quantus."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from wsol.metrics import attribution
from wsol.metrics.attribution import COLUMNS, attribution_values
from wsol.metrics.base import METRICS, LocalizationStats
from wsol.metrics.summary import resample_metrics, summarize, summarize_groups

MAP = np.array([[0, 0, 0, 1], [0, 4, 2, 0], [0, 8, 5, 0], [0, 0, 0, 0]]) / 8
REGION = np.zeros((4, 4), bool)
REGION[1:3, 1:2] = True  # the pixels of 4 and 8
REGION[3, 3] = True  # and one of 0


def values(
    score_map: NDArray[Any],
    region: NDArray[np.bool_],
    relevance: NDArray[Any] | None = None,
    counted: NDArray[np.bool_] | None = None,
    peak: tuple[int, int] | None = None,
) -> dict[str, float]:
    counted = np.ones(region.shape, bool) if counted is None else counted
    found = attribution_values(score_map, score_map if relevance is None else relevance, region, counted, peak)
    assert found.dtype == np.float32
    return dict(zip(COLUMNS, found.tolist(), strict=True))


def test_a_map_by_hand() -> None:
    # 20 eighths in all, 12 in the region. The three highest are 8, 5, 4: two are in the region.
    # Pairs of the region and the 13 others (5, 2, 1, ten 0): 8 is above 13, 4 above 12, 0 above none and equal to 10.
    expected = {"energy": 12 / 20, "mass": 12 / 20, "rank": 2 / 3, "top_k": 3 / 16, "near": 1}
    expected["auc"] = (13 + 12 + 10 / 2) / (3 * 13)
    assert values(MAP, REGION) == pytest.approx(expected, abs=1e-7)


def test_positive_relevance_is_that_of_the_raw_map() -> None:
    raw = 8 * MAP - 3  # 1 and 5 in the region are positive, 2 outside, 5 - 3
    assert values(MAP, REGION, raw)["mass"] == pytest.approx(6 / 8)
    assert values(MAP, REGION, 1e3 * raw)["mass"] == pytest.approx(6 / 8)
    assert values(MAP, REGION, -MAP)["mass"] == 0  # none is positive
    assert values(MAP - 0.375, REGION, raw)["energy"] == pytest.approx(6 / 8)  # a prepared map that has its signs


def test_equal_pixels_count_by_their_share() -> None:
    flat = np.ones((4, 4))
    expected = {"energy": 3 / 16, "mass": 3 / 16, "rank": 3 / 16, "top_k": 3 / 16, "auc": 0.5, "near": 1}
    assert values(flat, REGION) == pytest.approx(expected)
    two = MAP.copy()
    two[2, 1] = two[2, 2] = two[1, 1] = two[1, 2] = 0.5  # four equal, of which two are in the region, for three places
    assert values(two, REGION)["rank"] == pytest.approx(2 / 4)


def test_an_empty_map_is_on_nothing() -> None:
    found = values(np.zeros((4, 4)), REGION)
    assert (found["energy"], found["mass"], found["near"]) == (0, 0, 0)
    assert (found["rank"], found["auc"]) == (pytest.approx(3 / 16), 0.5)  # as good as any order


def test_pixels_that_do_not_count() -> None:
    counted = np.ones((4, 4), bool)
    counted[1, 2] = counted[2, 2] = False  # the pixels of 2 and 5
    expected = {"energy": 12 / 13, "mass": 12 / 13, "rank": 2 / 3, "top_k": 3 / 14, "near": 1}
    expected["auc"] = (11 + 11 + 10 / 2) / (3 * 11)
    assert values(MAP, REGION, counted=counted) == pytest.approx(expected, abs=1e-7)


def test_what_is_undefined_is_nan() -> None:
    found = values(MAP, np.zeros((4, 4), bool))
    assert found.pop("near") == 0
    assert np.isnan([*found.values()]).all()
    found = values(MAP, np.ones((4, 4), bool))
    assert np.isnan(found.pop("auc"))
    assert found == dict.fromkeys(("energy", "mass", "rank", "top_k", "near"), 1)


@pytest.mark.parametrize(
    ("row", "column", "hit"),
    [(20, 34, True), (20, 35, False), (6, 20, True), (5, 20, False), (28, 32, True), (29, 32, False), (31, 29, True)],
)
def test_the_distance_of_the_pointing_game(row: int, column: int, hit: bool) -> None:
    """Strictly nearer than 15: 14 along an axis; 8 and 12, 14.4 in all, but not 9 and 12; 11 and 9."""
    score_map, region = np.zeros((40, 50)), np.zeros((40, 50), bool)
    score_map[20, 20] = 1
    region[row, column] = True
    assert values(score_map, region)["near"] == hit
    assert values(score_map[::-1, ::-1], region[::-1, ::-1])["near"] == hit


def test_the_peak_of_a_baseline_is_where_it_says() -> None:
    region = np.zeros((40, 50), bool)
    region[39, 49] = True
    assert values(np.ones((40, 50)), region)["near"] == 0  # the first of equal pixels
    assert values(np.ones((40, 50)), region, peak=(30, 45))["near"] == 1


def test_top_k_takes_a_thousand_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    score_map = np.arange(1600.0).reshape(40, 40)
    region = np.zeros((40, 40), bool)
    region[30:] = True  # the 400 highest
    assert values(score_map, region)["top_k"] == pytest.approx(0.4)
    monkeypatch.setattr(attribution, "TOP_K", 2)
    assert values(MAP, REGION)["top_k"] == 0.5


shapes = st.tuples(st.integers(2, 9), st.integers(2, 9))


@given(shapes, st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_auc_is_that_of_scikit_learn_with_ties(shape: tuple[int, int], seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    score_map = rng.integers(0, steps + 1, shape) / steps
    region = rng.random(shape) < 0.4
    region.flat[0], region.flat[-1] = True, False
    expected = roc_auc_score(region.ravel(), score_map.ravel())
    assert values(score_map, region)["auc"] == pytest.approx(expected, abs=1e-6)


@given(shapes, st.integers(0, 2**32 - 1))
def test_shares_of_a_region_and_of_the_rest_add_up(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    score_map, region = rng.integers(0, 4, shape) / 3, rng.random(shape) < 0.5
    region.flat[0], region.flat[-1] = True, False
    one, other = values(score_map, region), values(score_map, ~region)
    assert one["auc"] + other["auc"] == pytest.approx(1, abs=1e-6)
    assert one["top_k"] + other["top_k"] == pytest.approx(1, abs=1e-6)
    assert one["energy"] + other["energy"] == pytest.approx(float(score_map.any()), abs=1e-6)
    assert values(score_map**2, region)["rank"] == one["rank"]  # of the order alone


def stats_of(rows: list[list[float]], labels: list[int]) -> LocalizationStats:
    n = len(rows)
    return LocalizationStats(
        np.zeros((n, 1), np.float32), 0.5, np.array(labels), attribution=np.array(rows, np.float32)
    )


def test_means_leave_out_what_is_undefined() -> None:
    nan = float("nan")
    stats = stats_of([[0.5, 0.25, 1, 0.5, nan, 1], [0.25, 0.75, 0, 0.5, 0.75, 0], [nan] * 5 + [1.0]], [0, 0, 1])
    table = summarize(stats, np.empty(0), None).set_index("metric")
    found = table["value"].to_dict()
    expected = {"energy_pointing_game": 37.5, "relevance_mass_accuracy": 50, "relevance_rank_accuracy": 50}
    expected |= {"top_k_intersection": 50, "pixel_auc": 75, "pointing_game_15": 200 / 3, "pointing_game_15_classes": 75}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert set(expected) == {name for name in METRICS.names() if "attribution" in METRICS.get(name).needs}
    assert (table.loc[[*expected], "ci_low"] <= table.loc[[*expected], "value"]).all()
    resampled = resample_metrics(stats, np.empty(0), None, bootstrap=0)
    groups = summarize_groups(stats, {("by", "first"): np.array([0])}, resampled, 0).set_index("metric")["value"]
    assert groups["energy_pointing_game"] == 50
    assert np.isnan(groups["pixel_auc"])
    nothing = summarize(stats_of([[nan] * 5 + [0.0]], [0]), np.empty(0), None).set_index("metric")["value"]
    assert np.isnan(nothing["energy_pointing_game"])
    assert nothing["pointing_game_15"] == 0


@pytest.mark.slow
def test_quantus_agrees() -> None:
    """To 1e-6, on maps without negative or equal pixels: with these the definitions differ, see the docstrings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
    rng = np.random.default_rng(0)
    n, side = 5, 48
    maps = rng.permuted(np.arange(1, n * side * side + 1) / (n * side * side)).reshape(n, 1, side, side)
    regions = np.zeros((n, 1, side, side), bool)
    for i, (top, left, height, width) in enumerate(rng.integers(2, 24, (n, 4))):
        regions[i, 0, top : top + height, left : left + width] = True
    peers = {
        "mass": quantus.RelevanceMassAccuracy,
        "rank": quantus.RelevanceRankAccuracy,
        "top_k": quantus.TopKIntersection,
        "auc": quantus.AUC,
    }
    own = [values(score_map, region) for (score_map,), (region,) in zip(maps, regions, strict=True)]
    for name, peer in peers.items():
        metric = peer(disable_warnings=True, display_progressbar=False)
        images, labels = np.zeros((n, 1, side, side)), np.zeros(n, int)
        theirs = metric(model=None, x_batch=images, y_batch=labels, a_batch=maps, s_batch=regions)
        assert [each[name] for each in own] == pytest.approx([float(each) for each in theirs], abs=1e-6), name
    assert [each["energy"] for each in own] == [each["mass"] for each in own]
