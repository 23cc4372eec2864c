"""The optimism of the choice of tau: cases by hand, a computation resample by resample, and properties."""

import numpy as np
import pytest

from wsol.metrics.bootstrap import resampled_class_means, resampled_means
from wsol.metrics.optimism import resample_oracle
from wsol.metrics.resamples import RESAMPLES

RNG = np.random.default_rng(4)


def drawn(n: int) -> list[np.ndarray]:
    return [np.random.RandomState([0, r]).randint(0, n, n) for r in range(RESAMPLES)]


def test_two_images_that_want_different_taus() -> None:
    """The first tau is chosen on both. A quarter of the resamples have the second image alone: 1 instead of 0."""
    hits = np.array([[True, False], [False, True]])
    only_second = np.mean([(images == 1).all() for images in drawn(2)])
    only_first = np.mean([(images == 0).all() for images in drawn(2)])
    assert 0.2 < only_second < 0.3
    found = resample_oracle(hits, hits.mean(0), higher=True)
    assert found.optimism == pytest.approx(only_second)
    assert found.best.mean() == pytest.approx(0.5 + (only_first + only_second) / 2)
    assert found.at_tau.mean() == pytest.approx(0.5 + (only_first - only_second) / 2)


def test_a_smallest_tau_that_is_best_for_every_image_has_none() -> None:
    hits = np.array([[True, False, False], [True, True, False], [False, False, False]])
    assert resample_oracle(hits, hits.mean(0), higher=True).optimism == 0
    assert resample_oracle(~hits, (~hits).mean(0), higher=False).optimism == 0
    one = RNG.random((30, 1))
    assert resample_oracle(one, one.mean(0), higher=True).optimism == 0


@pytest.mark.parametrize("kind", ["hits", "fractions"])
def test_it_is_the_mean_over_resamples_of_what_the_choice_gains_in_them_and_loses_on_all_images(kind: str) -> None:
    values = RNG.random((40, 30)) < 0.5 if kind == "hits" else RNG.random((40, 30))
    means = values.mean(0)
    own, expected = int(means.argmax()), []
    for images in drawn(40):
        again = np.rint(values[images].mean(0) * 2**40)  # as good as exact, so that ties go to the first
        best = int(again.argmax())
        expected.append(values[images, best].mean() - values[images, own].mean() + means[own] - means[best])
    found = resample_oracle(values, means, higher=True)
    assert found.optimism == pytest.approx(np.mean(expected), rel=1e-6)
    assert 0 < found.optimism < 0.3
    np.testing.assert_array_equal(found.best, resampled_means(values).max(1))


def test_errors_and_hits_have_the_same_optimism() -> None:
    hits = RNG.random((50, 25)) < np.linspace(0.3, 0.6, 25)
    of_hits = resample_oracle(hits, hits.mean(0), higher=True)
    of_errors = resample_oracle(~hits, (~hits).mean(0), higher=False)
    assert of_errors.optimism == pytest.approx(of_hits.optimism)
    np.testing.assert_allclose(of_errors.best, 1 - of_hits.best)
    np.testing.assert_allclose(of_errors.at_tau, 1 - of_hits.at_tau)


def test_a_mean_over_one_class_is_a_mean_over_images() -> None:
    hits = RNG.random((50, 25)) < 0.5
    plain = resample_oracle(hits, hits.mean(0), True)
    of_class = resample_oracle(hits, hits.mean(0), True, np.full(50, 3))
    assert of_class.optimism == pytest.approx(plain.optimism)
    np.testing.assert_allclose(of_class.best, plain.best)


def test_images_alone_in_their_class_count_as_often_as_they_are_drawn() -> None:
    """The mean over 50 classes of one image each is that over 50 images; only its resamples differ."""
    hits, labels = RNG.random((50, 25)) < 0.5, RNG.permutation(50)
    plain = resample_oracle(hits, hits.mean(0), True)
    of_classes = resample_oracle(hits, hits.mean(0), True, labels)
    assert of_classes.optimism == pytest.approx(plain.optimism)
    np.testing.assert_array_equal(of_classes.best, resampled_class_means(hits, labels).max(1))
    assert (of_classes.best < plain.best).mean() > 0.6
