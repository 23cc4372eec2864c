"""Intervals of proportions and of means over classes: published values, cases by hand, another library, coverage."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from wsol.metrics.base import METRICS, LocalizationStats
from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.error_types import error_table
from wsol.metrics.intervals import INTERVAL_KINDS, OPTIMISM_SHIFT, effective_size, find_interval, wilson_ends
from wsol.metrics.summary import resample_metrics, summarize

Z2 = 1.959963984540054**2


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # Newcombe, "Two-Sided Confidence Intervals for the Single Proportion", Statistics in Medicine 1998, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_ends_are_the_published_ones(hits: int, n: int, low: float, high: float) -> None:
    np.testing.assert_allclose(wilson_ends(hits / n, n), [low, high], atol=5e-5)


def test_wilson_ends_are_those_of_scipy() -> None:
    for n in (1, 2, 20, 240, 50_000):
        for hits in {0, 1, n // 3, n - 1, n}:
            expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
            np.testing.assert_allclose(wilson_ends(hits / n, n), [expected.low, expected.high], rtol=1e-9, atol=1e-12)


def test_no_hit_and_only_hits() -> None:
    ends = wilson_ends([0, 1], 240)
    assert ends[0, 0] == 0
    assert ends[1, 1] == 1
    assert ends[1, 0] == pytest.approx(Z2 / (240 + Z2))  # 1.6 %
    assert ends[0, 1] == pytest.approx(240 / (240 + Z2))


def test_wilson_ends_contain_the_share_grow_with_it_and_mirror() -> None:
    shares = np.linspace(0, 1, 101)
    for n in (0.7, 1, 30, 1e6):
        low, high = wilson_ends(shares, n)
        assert ((low >= 0) & (low <= shares) & (shares <= high) & (high <= 1)).all()
        assert (np.diff(low) >= 0).all()
        assert (np.diff(high) >= 0).all()
        np.testing.assert_allclose(wilson_ends(1 - shares, n), 1 - np.stack([high, low]), atol=1e-12)
    assert (np.diff(np.diff(wilson_ends(0.3, np.array([10, 20, 40, 400])), axis=0)) < 0).all()


@pytest.mark.parametrize(
    ("values", "labels", "size"),
    [
        # One class: p = 1/2, V = 4 * 4/3 * (1/4 * 1/2)^2 = 1/12, p (1 - p) / V = 3, one less than its images.
        ([1, 1, 0, 0], [7, 7, 7, 7], 3),
        # Means 1/2 and 1, p = 3/4, V = 2 * 2 * (1/4 * 1/2)^2 = 1/16: 3/16 * 16
        ([1, 0, 1, 1], [0, 0, 3, 3], 3),
        # Each alone in its class: p = 1/4, V = (1/4)^2 (9 + 3) / 16 = 3/64: 3/16 * 64/3, all images
        ([1, 0, 0, 0], [0, 1, 2, 3], 4),
        # No variance: weights 1/2 and three times 1/6, 1 / (1/4 + 3/36)
        ([1, 1, 1, 1], [0, 1, 1, 1], 3),
    ],
)
def test_effective_sizes_by_hand(values: list[int], labels: list[int], size: float) -> None:
    assert effective_size(np.array(values, bool), np.array(labels)) == pytest.approx(size)


def test_an_interval_of_an_oracle_number_is_moved_by_three_quarters_of_its_optimism() -> None:
    hits = np.arange(200) < 120
    labels, draws = np.zeros(200, np.int64), np.zeros(1)
    low, high = wilson_ends(0.6, 200)
    metric = METRICS.get("gt_known_loc_acc")
    assert OPTIMISM_SHIFT == 0.75
    assert find_interval(metric, 0.6, hits, labels, draws) == ("wilson", low, high)
    moved = find_interval(metric, 0.6, hits, labels, draws, 0.02)
    assert moved == ("wilson", pytest.approx(low - 0.015), pytest.approx(high - 0.015))
    error = find_interval(replace(metric, better="lower"), 0.4, ~hits, labels, draws, 0.02)
    assert error == ("wilson", pytest.approx(1 - high + 0.015), pytest.approx(1 - low + 0.015))
    assert find_interval(metric, 0.6, hits, labels, draws, 0.4).high == 0.6  # it contains the number
    assert find_interval(metric, 0.6, hits, labels, draws, 0.9).low == 0


def make_stats(n: int, rng: np.random.Generator) -> LocalizationStats:
    """Images that are hit between two taus of twenty, at three deltas on nested intervals."""
    taus, center, width = np.arange(20), rng.normal(9, 5, n)[:, None], rng.gamma(4, 1, n)[:, None]
    distance = np.abs(taus + rng.normal(0, 1, (n, 20)) - center) / width
    contours = np.select([distance < 0.5, distance < 1, distance < 1.5], [0.75, 0.55, 0.35], 0.1).astype(np.float32)
    return LocalizationStats(contours, 0.5, np.arange(n) // 2, rng.integers(0, 6, n), contours=contours)


def test_every_row_names_its_interval_and_contains_its_value() -> None:
    stats, taus = make_stats(60, np.random.default_rng(1)), np.arange(20) / 20
    table = summarize(stats, taus, 0.2, make_stats(40, np.random.default_rng(2)))
    assert {*table.interval} == {*INTERVAL_KINDS}
    kinds = table.groupby("metric").interval.unique().map(list).to_dict()
    assert kinds["gt_known_loc_acc"] == kinds["top1_cls_err"] == kinds["max_box_acc_v2_30"] == ["wilson"]
    assert kinds["corloc"] == ["class-wilson"]
    assert kinds["mean_iou"] == kinds["max_box_acc_v2"] == ["percentile"]
    assert ((table.ci_low <= table.value) & (table.value <= table.ci_high)).all()
    assert ((table.ci_low >= 0) & (table.ci_high <= 100)).all()
    is_oracle = table.tau_rule == "oracle"
    assert (table.optimism[is_oracle] > 0).all()
    assert table.optimism[~is_oracle].isna().all()
    by_name = table[is_oracle].set_index("metric").optimism
    parts = [by_name[f"max_box_acc_v2_{delta}"] for delta in (30, 50, 70)]
    assert by_name["max_box_acc_v2"] == pytest.approx(np.mean(parts))
    without = summarize(stats, taus, 0.2, bootstrap=0)
    assert without[["ci_low", "ci_high", "interval", "optimism"]].isna().all(axis=None)
    pd_values = table[table.tau_rule != "val"].value.to_numpy()
    np.testing.assert_array_equal(without.value, pd_values)


def test_an_error_type_that_no_image_has_may_still_exist() -> None:
    table = error_table(np.array(["correct"] * 240), np.ones(240, bool)).set_index("error")
    assert tuple(table.loc["multi", ["share", "share_low"]]) == (0, 0)
    assert table.loc["multi", "share_high"] == pytest.approx(100 * Z2 / (240 + Z2))
    assert table.loc["correct", "share_low"] == pytest.approx(24_000 / (240 + Z2))


def test_a_share_near_zero_is_covered_and_was_not_by_the_bootstrap() -> None:
    """With 20 images and a share of 5 % there is no hit in 36 % of samples: all their resamples are zero."""
    hits, share = np.arange(21), 0.05
    chances = binom.pmf(hits, 20, share)
    percentile = np.stack([intervals(resampled_means((hits[:20] < k)[:, None]))[:, 0] for k in hits], 1)
    covered = [
        chances[(low <= share) & (high >= share)].sum() for low, high in (wilson_ends(hits / 20, 20), percentile)
    ]
    assert covered[0] == pytest.approx(binom.cdf(2, 20, share))  # 0.925; with a third hit it would be 0.984
    assert covered[1] < 0.65


@pytest.mark.slow
def test_intervals_of_oracle_numbers_contain_the_best_value_of_the_population() -> None:
    """Percentiles of resamples in which tau is chosen again contain it less often; nearly all lie above."""
    rng, taus = np.random.default_rng(3), np.arange(20) / 20
    population = make_stats(400_000, rng)
    shares = [population.contours >= np.float32(delta) for delta in (0.3, 0.5, 0.7)]
    targets = {
        "max_box_acc_v2": np.mean([hits.mean(0).max() for hits in shares]),
        "gt_known_loc_acc": shares[1].mean(0).max(),
        "corloc": shares[1].mean(0).max(),  # all classes are alike
    }
    metrics = [METRICS.get(name) for name in targets]
    found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in targets}
    for _ in range(400):
        for each in resample_metrics(make_stats(100, rng), taus, None, metrics=metrics):
            low, high = intervals(each.draws[:, None])[:, 0]
            target = targets[each.metric.name]
            covered = each.interval.low <= target <= each.interval.high, low <= target <= high
            found[each.metric.name].append(covered)
    for name, covered in found.items():
        ours, percentile = np.mean(covered, axis=0)
        assert 0.92 <= ours <= 0.985, (name, ours)  # 0.95, three standard errors of 0.011 around it
        assert percentile < 0.9, (name, percentile)
