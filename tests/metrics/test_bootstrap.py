"""Intervals over resampled images."""

from fractions import Fraction

import numpy as np
import pytest

from wsol.metrics import bootstrap
from wsol.metrics.base import LocalizationStats
from wsol.metrics.bootstrap import (
    best_resampled_means,
    intervals,
    resampled_class_means,
    resampled_means,
    resampled_means_within,
)
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.summary import resample_metrics, summarize


def test_a_resample_is_a_mean_over_images_drawn_with_replacement() -> None:
    rng = np.random.default_rng(5)
    values = rng.random((37, 3))
    means = resampled_means(values)
    assert means.shape == (RESAMPLES, 3)
    for r in (0, 1, 999):
        drawn = np.random.RandomState([0, r]).randint(0, 37, 37)
        np.testing.assert_allclose(means[r], values[drawn].mean(0), rtol=1e-6)


def test_the_spread_is_that_of_the_mean() -> None:
    """For a share p of n images the interval is close to p +- 1.96 sqrt(p (1 - p) / n)."""
    for p, n in ((0.5, 400), (0.2, 1000)):
        hits = (np.arange(n) < p * n)[:, None]
        low, high = intervals(resampled_means(hits))[:, 0]
        half = 1.96 * np.sqrt(p * (1 - p) / n)
        assert low == pytest.approx(p - half, abs=0.15 * half)
        assert high == pytest.approx(p + half, abs=0.15 * half)


def test_percentiles() -> None:
    draws = np.stack([np.arange(1001.0), np.arange(1001.0)[::-1] * 2], 1)
    np.testing.assert_allclose(intervals(draws), [[25, 50], [975, 1950]])
    np.testing.assert_allclose(intervals(draws, 0.5), [[250, 500], [750, 1500]])
    gaps = np.concatenate([draws, np.full((500, 2), np.nan)])
    np.testing.assert_allclose(intervals(gaps), [[25, 50], [975, 1950]])


def test_whole_numbers_are_summed_exactly_and_memory_is_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = np.random.default_rng(0).random((50, 4)) < 0.3
    whole = resampled_means(hits)
    monkeypatch.setattr(bootstrap, "CHUNK", 50 * 7)
    assert (resampled_means(hits) == whole).all()
    np.testing.assert_allclose(whole * 50, np.rint(whole * 50), atol=1e-9)


def test_runs_on_the_same_images_meet_the_same_resamples() -> None:
    a = np.random.default_rng(1).random((60, 1)) < 0.6
    better = a.copy()
    better[np.flatnonzero(~a[:, 0])[:3]] = True
    gain = resampled_means(better)[:, 0] - resampled_means(a)[:, 0]
    assert gain.min() >= 0  # paired: never worse in any resample
    assert gain.mean() == pytest.approx(3 / 60, abs=0.005)


def test_the_best_threshold_is_taken_again_in_every_resample() -> None:
    # Two thresholds, each right on one half: the mean is 0.5 at both, the better of the two is above it by chance.
    curves = np.zeros((100, 2), np.float32)
    curves[:50, 0] = curves[50:, 1] = 1
    stats = LocalizationStats(curves, 0.5, np.zeros(100, np.int64), np.ones(100, np.int64))
    table = summarize(stats, np.array([0.0, 0.2]), 0.2).set_index(["metric", "tau_rule"])
    oracle, fixed = (table.loc[("gt_known_loc_acc", rule)] for rule in ("oracle", "fixed"))
    assert oracle.value == fixed.value == 50
    results = {(each.metric.name, each.rule): each for each in resample_metrics(stats, np.array([0.0, 0.2]), 0.2)}
    assert results["gt_known_loc_acc", "oracle"].draws.min() >= 0.5 > results["gt_known_loc_acc", "fixed"].draws.min()
    assert results["top1_loc_err", "oracle"].draws.max() <= 0.5  # and the lower one of an error


def test_means_of_a_part_and_of_classes_follow_the_resamples_of_all() -> None:
    rng = np.random.default_rng(2)
    values, labels = rng.random((23, 2)), rng.integers(0, 3, 23)
    labels[:3] = 0, 1, 2
    members = np.flatnonzero(labels == 1)
    within, by_class = resampled_means_within(values[members], members, 23), resampled_class_means(values, labels)
    for r in (0, 7, 999):
        drawn = np.random.RandomState([0, r]).randint(0, 23, 23)
        of_class = [values[drawn[labels[drawn] == c]].mean(0) for c in range(3)]
        np.testing.assert_allclose(within[r], of_class[1], rtol=1e-5)
        np.testing.assert_allclose(by_class[r], np.mean(of_class, 0), rtol=1e-5)


def test_a_resample_without_an_image_of_a_class_has_no_mean_of_it() -> None:
    values, labels = np.array([[1.0], [0], [0], [0]]), np.array([5, 2, 2, 2])
    within, by_class = resampled_means_within(values[:1], np.array([0]), 4), resampled_class_means(values, labels)
    drawn = [np.random.RandomState([0, r]).randint(0, 4, 4) for r in range(RESAMPLES)]
    absent = np.array([not (places == 0).any() for places in drawn])
    assert 0.2 < absent.mean() < 0.45  # (3 / 4)^4 = 0.316
    assert (np.isnan(within[:, 0]) == absent).all()
    assert (by_class[absent] == 0).all()
    only = np.array([(places == 0).all() for places in drawn])
    np.testing.assert_allclose(by_class[~absent & ~only], 0.5, rtol=0, atol=1e-13)


def test_sums_are_exact_so_that_no_order_of_additions_shows() -> None:
    rng = np.random.default_rng(9)
    drawn = [np.bincount(np.random.RandomState([0, r]).randint(0, 700, 700), minlength=700).tolist() for r in range(5)]
    fractions, pixels = rng.random((700, 2), np.float32), rng.integers(0, 50_000, (700, 2), np.uint32)
    hits, labels = rng.random((700, 2)) < 0.4, rng.integers(0, 9, 700)

    def exact(row: list[int], column: list[float], grain: int) -> float:
        return float(
            sum(count * Fraction(round(value * grain), grain) for count, value in zip(row, column, strict=True))
        )

    for values, grain in ((fractions, 2**30), (hits, 1), (pixels, 1)):
        sums = [[exact(row, column.tolist(), grain) for column in values.T] for row in drawn]
        assert (resampled_means(values)[:5] == np.array(sums) / 700).all()
    for r, row in enumerate(drawn):
        sizes = [sum(count for count, label in zip(row, labels, strict=True) if label == c) for c in range(9)]
        weights = [Fraction(round(2**48 / (size * 9)), 2**48) for size in sizes]
        total = sum(
            count * weights[label] * int(hit) for count, label, hit in zip(row, labels, hits[:, 1], strict=True)
        )
        assert resampled_class_means(hits, labels)[r, 1] == float(total)


@pytest.mark.parametrize("n", [1, 2, 5, 64, 700, 1025])
def test_resamples_are_those_of_numpy(n: int) -> None:
    counts = bootstrap.draw_counts(n, 3)
    assert counts.shape == (RESAMPLES, n)
    for r in (0, 1, 63, 64, 999):
        drawn = np.random.RandomState([3, r]).randint(0, n, n)
        np.testing.assert_array_equal(counts[r], np.bincount(drawn, minlength=n))


@pytest.mark.parametrize("steps", [3, 40])
def test_the_best_mean_is_the_largest_of_all(steps: int) -> None:
    """The search over blocks of thresholds skips none that is best in any resample."""
    rng = np.random.default_rng(steps)
    curves = rng.random((90, steps), np.float32)
    for values in (curves, np.sort(curves, axis=1), curves > 0.7):
        best, columns = best_resampled_means(values)
        draws = resampled_means(values)
        np.testing.assert_array_equal(best, draws.max(1))
        np.testing.assert_array_equal(columns, draws.argmax(1))  # the first of equal ones
