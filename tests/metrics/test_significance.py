"""Tests of differences: by hand, by other packages, and by what chance does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.significance import ALPHA, corrected_p_values, p_values, pairs, ranks, winners

Reals = NDArray[np.float64]


def test_pairs_in_the_order_of_the_runs() -> None:
    assert pairs(3).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert pairs(1).shape == (0, 2)


def test_p_values_by_hand() -> None:
    # about 0.2 they lie by 0.1, 0.1, 0.2 and 0.2: two of four as far out as zero does, so (1 + 2) / (1 + 4)
    draws = np.array([[0.1], [0.3], [0.4], [0.0]])
    assert p_values(np.array([0.2]), draws) == pytest.approx(0.6)
    assert p_values(np.array([-0.2]), -draws) == pytest.approx(0.6)
    assert p_values(np.array([0.2]), np.concatenate([draws, [[np.nan]]])) == pytest.approx(0.6)


def test_the_step_down_by_hand() -> None:
    # Standard errors are 1. The larger difference meets the larger of both columns, the smaller its own column alone.
    root = 2**0.5
    chance = np.array([[root, 1], [-root, -1], [0, 1], [0, -1]])
    for (a, b), alone, together in (
        ((1.2, 1.05), (0.6, 0.2), (0.6, 0.6)),  # 1.2: 1.41 twice. 1.05: never by itself, but no less than 1.2 has
        ((0.9, 1.3), (0.6, 0.2), (0.6, 0.6)),  # 1.3 in column 2: never there, but twice in column 1
        ((1.5, 0.5), (0.2, 1.0), (0.2, 1.0)),  # 1.5: never anywhere. 0.5: always
        ((1.5, -1.2), (0.2, 0.2), (0.2, 0.2)),
    ):
        found = np.array([a, b])
        np.testing.assert_allclose(p_values(found, found + chance), alone)
        np.testing.assert_allclose(corrected_p_values(found, found + chance), together)


def test_the_step_down_as_it_is_defined(rng: np.random.Generator) -> None:
    """The definition of Romano and Wolf, hypothesis by hypothesis and draw by draw."""
    for _ in range(20):
        found = rng.normal(0, 2, 6)
        draws = found + rng.normal(0, rng.uniform(0.5, 2, 6), (99, 6))
        error = [float(np.std(column)) for column in draws.T]
        order = sorted(range(6), key=lambda j: -abs(found[j]) / error[j])
        expected, largest = {}, 0.0
        for place, j in enumerate(order):
            count = sum(
                max(abs(draw[k] - found[k]) / error[k] for k in order[place:]) >= abs(found[j]) / error[j]
                for draw in draws
            )
            largest = max(largest, (count + 1) / 100)
            expected[j] = largest
        np.testing.assert_allclose(corrected_p_values(found, draws), [expected[j] for j in range(6)])


def hits(both: int, first: int, second: int, neither: int) -> NDArray[np.bool_]:
    """Images by which of two runs finds them, ``(n, 2)``."""
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    return np.repeat(np.array(kinds), [both, first, second, neither], axis=0)


def drawn(values: NDArray[np.generic]) -> tuple[Reals, Reals]:
    """Differences of every pair of columns, on all images and in each resample."""
    first, second = pairs(values.shape[1]).T
    means, draws = values.mean(0), resampled_means(values)
    return means[first] - means[second], draws[:, first] - draws[:, second]


@pytest.mark.parametrize(("first", "second"), [(40, 22), (30, 25), (60, 20), (12, 30)])
def test_p_is_that_of_the_tests_of_mcnemar_and_of_permutations(first: int, second: int) -> None:
    values = hits(90, first, second, 60)
    p = p_values(*drawn(values))[0]
    exact = stats.binomtest(first, first + second).pvalue
    assert p == pytest.approx(exact, abs=0.02 + 0.15 * exact)
    flipped = stats.permutation_test(
        (values[:, 0].astype(float), values[:, 1].astype(float)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2000,
        random_state=0,  # named rng from scipy 1.15 on
    )
    assert p == pytest.approx(flipped.pvalue, abs=0.02 + 0.15 * exact)


def test_the_interval_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(200)
    b = np.clip(a + rng.normal(0.02, 0.1, 200), 0, 1)
    low, high = intervals(drawn(np.stack([a, b], 1))[1])[:, 0]
    theirs = stats.bootstrap(
        (a, b), lambda a, b, axis: (a - b).mean(axis), paired=True, method="percentile", random_state=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.07 * width)


def test_equal_runs_tie_and_runs_that_differ_everywhere_do_not() -> None:
    found, draws = drawn(hits(5, 0, 0, 7))
    assert p_values(found, draws) == corrected_p_values(found, draws) == 1
    found, draws = drawn(np.concatenate([hits(0, 9, 0, 0), np.zeros((9, 1), bool)], 1))  # its spread is zero
    np.testing.assert_allclose(corrected_p_values(found, draws), [1 / (1 + RESAMPLES)] * 2 + [1])


def test_draws_that_tie_but_for_rounding_are_ties() -> None:
    noise = 1e-8 * np.array([[1], [-1], [1], [-1]])
    assert p_values(np.array([0.0]), noise) == 1
    assert p_values(np.array([0.25]), 0.25 + np.array([[0.25], [-0.25], [0.25], [-0.25]]) * (1 - 1e-8)) == 1


differing = arrays(np.float64, (30, 4), elements=st.sampled_from([0, 0.25, 0.5, 1]))


@settings(max_examples=60, deadline=None)
@given(differing, st.permutations(range(6)))
def test_properties(values: Reals, order: list[int]) -> None:
    found, draws = drawn(values)
    p, corrected = p_values(found, draws), corrected_p_values(found, draws)
    for test in (p, corrected):
        assert ((test >= 1 / (1 + RESAMPLES)) & (test <= 1)).all()
    assert (corrected >= p).all()
    np.testing.assert_array_equal(corrected_p_values(found[:1], draws[:, :1]), p[:1])
    np.testing.assert_array_equal(p_values(-found, -draws), p)
    np.testing.assert_array_equal(corrected_p_values(-found, -draws), corrected)
    error = np.maximum(draws.std(0), 1e-6)
    by_size = np.argsort(-np.abs(found) / error, kind="stable")
    assert (np.diff(corrected[by_size]) >= 0).all()
    np.testing.assert_allclose(corrected_p_values(found[order], draws[:, order]), corrected[order], atol=0.03)
    higher, lower = winners(found, corrected, "higher"), winners(found, corrected, "lower")
    np.testing.assert_array_equal(higher, winners(-found, corrected, "lower"))
    np.testing.assert_array_equal(np.where(higher < 0, -1, 1 - higher), lower)
    assert (ranks(higher, 4) >= 1).all()
    assert (ranks(higher, 4) <= 4).all()


def test_chance_alone_seldom_makes_a_difference() -> None:
    """Runs that find images with one probability, some of them the same ones: the family-wise error is about 5 %."""
    rng = np.random.default_rng(11)
    alone, together = [], []
    for _ in range(150):
        shared = rng.random((100, 1)) < 0.6
        values = np.where(shared, rng.random((100, 1)), rng.random((100, 5))) < 0.5
        found, draws = drawn(values)
        alone.append((p_values(found, draws) < ALPHA).any())
        together.append((corrected_p_values(found, draws) < ALPHA).any())
    assert np.mean(together) < 0.11  # 0.05 and three standard errors
    assert np.mean(alone) > 0.15  # ten tests at 5 % each


def test_many_runs_can_still_be_told_apart() -> None:
    """With 66 pairs, Holm's correction of the smallest p-value that there is, 1 / 1001, would be 0.066."""
    rng = np.random.default_rng(0)
    good = np.arange(12) % 2
    values = rng.random((1000, 12)) < 0.4 + 0.2 * good
    found, draws = drawn(values)
    p = corrected_p_values(found, draws)
    first, second = pairs(12).T
    differ = good[first] != good[second]
    assert (p[differ] < ALPHA).all()
    assert (p[~differ] >= ALPHA).all()
    np.testing.assert_array_equal(ranks(winners(found, p, "higher"), 12), np.where(good, 1, 7))


def test_ranks_by_hand() -> None:
    # 0 beats 2, all beat 3; 1 ties with 0 and 2: it shares the first rank, and 2 is behind 0
    winning = {(0, 1): -1, (0, 2): 0, (0, 3): 0, (1, 2): -1, (1, 3): 0, (2, 3): 0}
    assert ranks(np.array([winning[a, b] for a, b in pairs(4).tolist()]), 4).tolist() == [1, 1, 2, 4]
    assert ranks(np.full(6, -1), 4).tolist() == [1, 1, 1, 1]
    assert ranks(np.array([1]), 2).tolist() == [2, 1]
    assert ranks(np.empty(0, int), 1).tolist() == [1]


def test_the_winner_has_the_better_value_whichever_is_better() -> None:
    found, p = np.array([0.1, -0.1, 0.1]), np.array([0.01, 0.01, 0.05])
    assert winners(found, p, "higher").tolist() == [0, 1, -1]
    assert winners(found, p, "lower").tolist() == [1, 0, -1]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)
