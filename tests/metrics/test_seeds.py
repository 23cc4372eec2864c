"""Tests of the bootstrap over seeds and images: by enumeration, by a loop, and by what chance does."""

from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from wsol.metrics.base import METRICS, LocalizationStats
from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.intervals import wilson_ends
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.seeds import average_seeds, resample_seeds, seed_picks
from wsol.metrics.summary import ResampledMetric, resample_metrics

TAUS = np.arange(4) / 4


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def results_of(curves: NDArray[np.float32]) -> list[ResampledMetric]:
    """Return GT-known accuracy at tau 0.25 and at the best tau, of one run."""
    stats = LocalizationStats(curves, 0.5, np.zeros(len(curves), np.int64))
    return [*resample_metrics(stats, TAUS, 0.25, metrics=[METRICS.get("gt_known_loc_acc")])]


def made_curves(rng: np.random.Generator, seeds: int, n: int, spread: float = 0.0) -> NDArray[np.float32]:
    """Draw IoUs ``(seeds, n, 4)`` with effects of the image and of the seed."""
    latent = rng.normal(0, 1, (n, 1)) + rng.normal(0, 1, (seeds, n, 4)) + spread * rng.normal(0, 1, (seeds, 1, 1))
    return np.where(latent > 0, 0.75, 0.25).astype(np.float32)


def test_two_seeds_and_three_images_by_enumeration() -> None:
    """All 27 samples of the images and all 4 of the seeds, in fractions; the variance is also worked out by hand.

    One seed finds the first and the last image, the other the last. Per image the mean of both is 1/2, 0, 1, whose
    variance is 1/6, a third of which, 1/18, is that of the mean. The seeds differ in the first image, in resamples by d
    with the mean 1/3 and the variance 2/27. The unbiased variance of two seeds is d^2 / 2, that of their mean d^2 / 4,
    the mean of which is (1/9 + 2/27) / 4 = 5/108. Together that is 11/108; without the rescaling it would be 17/216.
    """
    found = [[1, 0, 1], [0, 0, 1]]
    draws, counts = [], []
    exact: list[float] = []
    for images in product(range(3), repeat=3):
        means = [Fraction(sum(of_seed[i] for i in images), 3) for of_seed in found]
        for seeds in product(range(2), repeat=2):
            draws.append(means)
            counts.append([seeds.count(0), seeds.count(1)])
            mean, drawn = sum(means) / 2, sum(means[s] for s in seeds) / 2
            exact.append(float(mean) + 2**0.5 * float(drawn - mean))
    values = resample_seeds(np.array(draws, np.float64).T, np.array(counts).T)
    np.testing.assert_allclose(values, exact, rtol=0, atol=1e-15)
    assert values.mean() == pytest.approx(1 / 2)
    assert values.var() == pytest.approx(11 / 108)


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_the_variance_over_seeds_is_unbiased(seeds: int, rng: np.random.Generator) -> None:
    """Enumerate all samples of a few seeds: the variance is that of a mean, s^2 / n, with s^2 over n - 1."""
    values = rng.random(seeds)
    picks = np.array([[drawn.count(i) for i in range(seeds)] for drawn in product(range(min(seeds, 3)), repeat=seeds)])
    if seeds <= 3:
        draws = resample_seeds(np.repeat(values[:, None], len(picks), 1), picks.T)
        assert draws.mean() == pytest.approx(values.mean())
        assert draws.var() == pytest.approx(values.var(ddof=1) / seeds)
    drawn = resample_seeds(np.repeat(values[:, None], RESAMPLES, 1), seed_picks(map(str, range(seeds))))
    assert drawn.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.15)


def test_seeds_are_drawn_by_the_weights_alone() -> None:
    picks = seed_picks(["aa", "bb", "cc"])
    assert picks.shape == (3, RESAMPLES)
    assert (picks.sum(0) == 3).all()
    np.testing.assert_array_equal(picks, seed_picks(["aa", "bb", "cc"]))
    assert (seed_picks(["aa"]) == 1).all()
    other = seed_picks(["aa", "bb", "dd"])
    assert abs(np.corrcoef(picks[0], other[0])[0, 1]) < 0.1
    # the first three numbers of the documented stream are the seeds of the first resample
    key = np.frombuffer(sha256(b"aa\0bb\0cc").digest(), np.uint32)
    first = np.random.RandomState(key).randint(0, 3, 3).tolist()
    assert picks[:, 0].tolist() == [first.count(i) for i in range(3)]
    shares = picks.mean(1)
    np.testing.assert_allclose(shares, 1, atol=0.1)


def test_one_seed_is_the_run_itself(rng: np.random.Generator) -> None:
    for result in results_of(made_curves(rng, 1, 20)[0]):
        assert average_seeds([result], seed_picks(["aa"])) is result
        assert np.array_equal(resample_seeds(result.draws[None], seed_picks(["aa"])), result.draws)


def test_a_loop_over_resamples_gives_the_same(rng: np.random.Generator) -> None:
    """Draw one resample after the other, the images as NumPy does; the best tau is chosen again for each seed."""
    seeds, n = 3, 25
    curves = made_curves(rng, seeds, n, spread=0.5)
    picks = seed_picks(["aa", "bb", "cc"])
    fixed, oracle = (average_seeds(each, picks) for each in zip(*map(results_of, curves), strict=True))
    hits = curves >= 0.5
    by_rule: dict[str, list[float]] = {"fixed": [], "oracle": []}
    for r in range(RESAMPLES):
        images = np.random.RandomState([0, r]).randint(0, n, n)
        drawn = [s for s in range(seeds) for _ in range(picks[s, r])]
        for rule, of_seed in (
            ("fixed", [hits[s][images, 1].mean() for s in range(seeds)]),
            ("oracle", [hits[s][images].mean(0).max() for s in range(seeds)]),
        ):
            mean = np.mean(of_seed)
            by_rule[rule].append(mean + (3 / 2) ** 0.5 * (np.mean([of_seed[s] for s in drawn]) - mean))
    np.testing.assert_allclose(fixed.draws, by_rule["fixed"], atol=1e-12)
    np.testing.assert_allclose(oracle.draws, by_rule["oracle"], atol=1e-12)
    at_fixed = hits[:, :, 1].mean(1)
    assert fixed.value == pytest.approx(at_fixed.mean())
    assert fixed.spread == pytest.approx(np.std(at_fixed, ddof=1))
    assert oracle.spread == pytest.approx(np.std(hits.mean(1).max(1), ddof=1))
    assert (fixed.seeds, fixed.tau) == (3, 0.25)
    # Wilson (1927): the shares p with |p - value| = z sqrt(p (1 - p) / n), at the n of the variance of the draws
    n = fixed.value * (1 - fixed.value) / np.var(by_rule["fixed"])
    for p in fixed.interval[1:]:
        assert abs(p - fixed.value) == pytest.approx(1.959963985 * (p * (1 - p) / n) ** 0.5)


def test_an_oracle_interval_is_moved_by_the_mean_optimism(rng: np.random.Generator) -> None:
    every = [results_of(curves)[1] for curves in made_curves(rng, 2, 30)]
    picks = seed_picks(["aa", "bb"])
    result = average_seeds(every, picks)
    assert result.optimism == pytest.approx(np.mean([each.optimism for each in every]))
    assert result.optimism > 0
    draws = resample_seeds(np.stack([each.at_tau for each in every]), picks)
    ends = wilson_ends(result.value, result.value * (1 - result.value) / draws.var())
    moved = np.clip(ends - 0.75 * result.optimism, 0, 1)
    np.testing.assert_allclose(result.interval[1:], [min(moved[0], result.value), max(moved[1], result.value)])
    taus = [each.tau for each in every]
    assert result.tau == pytest.approx(np.mean(taus))


def test_a_mean_of_fractions_has_the_percentiles_of_the_draws(rng: np.random.Generator) -> None:
    every = []
    for curves in rng.random((3, 20, 4)).astype(np.float32):
        stats = LocalizationStats(curves, 0.5, np.zeros(20, np.int64))
        every += [*resample_metrics(stats, TAUS, 0.25, metrics=[METRICS.get("mean_iou")])][:1]
    result = average_seeds(every, seed_picks(["aa", "bb", "cc"]))
    assert result.interval.kind == "percentile"
    np.testing.assert_allclose(result.interval[1:], np.percentile(result.draws, [2.5, 97.5]))


@pytest.mark.parametrize("share", [0, 1])
def test_no_hit_or_all_hits_is_not_certain(share: int) -> None:
    """No resample differs, but another image might: the interval is that of each run."""
    curves = np.full((40, 4), float(share), np.float32)
    run = results_of(curves)[0]
    result = average_seeds([run, run], seed_picks(["aa", "bb"]))
    assert (result.value, result.spread) == (share, 0)
    assert result.interval == run.interval
    assert result.interval.high - result.interval.low == pytest.approx(1.96**2 / (40 + 1.96**2), rel=1e-3)


def test_the_interval_grows_with_the_spread_over_seeds(rng: np.random.Generator) -> None:
    """The same numbers for each seed, moved apart by more and more points: only the spread changes."""
    base = results_of(made_curves(rng, 1, 40)[0])[0]
    widths = []
    for step in (0, 0.02, 0.06, 0.2):
        moved = [
            replace(each, value=each.value + d, draws=each.draws + d, at_tau=each.at_tau + d)
            for each, d in zip([base] * 3, (-step, 0, step), strict=True)
        ]
        result = average_seeds(moved, seed_picks(["aa", "bb", "cc"]))
        widths.append(result.interval.high - result.interval.low)
        assert result.interval.low <= result.value <= result.interval.high
    assert widths[0] == pytest.approx(2 * 1.96 * base.draws.std(), rel=0.1)
    assert widths == sorted(widths)
    assert widths[-1] > 1.5 * widths[0]


def test_coverage_of_the_mean_over_seeds_and_images() -> None:
    """Where the seeds vary as much as the images do, the interval over images alone misses the truth far too often."""
    rng, n, trials = np.random.default_rng(21), 100, 150
    inside = {"seeds and images": 0, "images": 0}
    for trial in range(trials):
        effects = rng.normal(0, 0.05, 4)
        hits = rng.random((4, n, 1)) < 0.5 + effects[:, None, None]
        draws = np.stack([resampled_means(of_seed)[:, 0] for of_seed in hits])
        picks = seed_picks([f"{trial}.{seed}" for seed in range(4)])
        for name, drawn in (("seeds and images", resample_seeds(draws, picks)), ("images", draws.mean(0))):
            low, high = intervals(drawn[:, None])[:, 0]
            inside[name] += low <= 0.5 <= high
    assert inside["seeds and images"] / trials >= 0.93
    assert inside["images"] / trials <= 0.87
