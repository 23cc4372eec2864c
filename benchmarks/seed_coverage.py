"""Measure how often intervals over seeds and images contain the true value, and tests find differences of equals.

    python benchmarks/seed_coverage.py [--data-sets 600]

Two recipes with the same expected accuracy are trained with several seeds and evaluated on the same images, in a model
of hits: the sum of normal variables of the image (variance 1.44), of the image under a recipe (0.36), of the training,
and of the image under a training (0.64) is above a threshold. Intervals and p-values are those of the package, from the
same 1,000 resamples; beside them are those without the rescaling, and those over images alone. Printed is a CSV table,
in percent: coverage of the expected accuracy of one recipe, and p < 0.05 between the two.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from wsol.metrics.bootstrap import draw_counts
from wsol.metrics.intervals import wilson_ends
from wsol.metrics.seeds import resample_seeds, seed_picks
from wsol.metrics.significance import ALPHA, p_values

IMAGES = (300, 2000)
SEEDS = (2, 3, 5, 10)
SPREADS = (0.0, 0.5, 1.0, 2.0, 4.0)  # points
OF_IMAGE, OF_RECIPE, OF_BOTH = 1.2, 0.6, 0.8  # standard deviations
THRESHOLD = 0.3
Resample = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]


def without_rescaling(draws: NDArray[np.float64], picks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the plain means of the seeds that are drawn."""
    means: NDArray[np.float64] = (picks * draws).sum(0) / len(draws)
    return means


def over_images(draws: NDArray[np.float64], picks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the means over all seeds."""
    means: NDArray[np.float64] = draws.mean(0)
    return means


KINDS: dict[str, Resample] = {"package": resample_seeds, "plain": without_rescaling, "images": over_images}


def ends(draws: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """Return the ends of the interval of a proportion, as ``wsol.metrics.seeds.seed_interval``."""
    return wilson_ends(value, value * (1 - value) / draws.var())


def draw_hits(n: int, seeds: int, spread: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw the hits of both recipes, ``(2, seeds, n)``; ``spread`` is the standard deviation of the latent variable."""
    latent = rng.normal(0, OF_IMAGE, n) + rng.normal(0, OF_RECIPE, (2, 1, n))
    latent = latent + rng.normal(0, spread, (2, seeds, 1)) + rng.normal(0, OF_BOTH, (2, seeds, n))
    hits: NDArray[np.bool_] = latent > -THRESHOLD
    return hits


def measure(n: int, seeds: int, points: float, data_sets: int) -> dict[str, float]:
    """Return a row of the table."""
    rng = np.random.default_rng([n, seeds, round(10 * points)])
    deviation = math.sqrt(OF_IMAGE**2 + OF_RECIPE**2 + OF_BOTH**2)
    spread = points / 100 * deviation / float(norm.pdf(THRESHOLD / deviation))
    expected = float(norm.cdf(THRESHOLD / math.sqrt(deviation**2 + spread**2)))
    counts = draw_counts(n, 0).astype(np.float64)
    covered, found, observed = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), 0.0
    for data_set in range(data_sets):
        hits = draw_hits(n, seeds, spread, rng)
        values = hits.mean(2)
        observed += values.var(1, ddof=1).mean()
        draws = (hits.reshape(2 * seeds, n) @ counts.T / n).reshape(2, seeds, -1)
        picks = [seed_picks(f"{data_set} {recipe} {seed}" for seed in range(seeds)) for recipe in range(2)]
        difference = values.mean(1)[:1] - values.mean(1)[1:]
        for kind, resample in KINDS.items():
            one, other = (resample(of_recipe, drawn) for of_recipe, drawn in zip(draws, picks, strict=True))
            low, high = ends(one, float(values[0].mean()))
            covered[kind] += low <= expected <= high
            found[kind] += p_values(difference, (one - other)[:, None])[0] < ALPHA
    row = {"images": n, "seeds": seeds, "spread": points, "observed": 100 * math.sqrt(observed / data_sets)}
    row |= {f"coverage_{kind}": 100 * count / data_sets for kind, count in covered.items()}
    return row | {f"false_{kind}": 100 * count / data_sets for kind, count in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure coverage over seeds and images.")
    parser.add_argument("--data-sets", type=int, default=600, metavar="N", help="data sets of each row")
    options = parser.parse_args()

    def rows() -> Iterator[dict[str, float]]:
        for n, seeds, points in product(IMAGES, SEEDS, SPREADS):
            yield measure(n, seeds, points, options.data_sets)
            print(n, seeds, points, file=sys.stderr)

    pd.DataFrame(rows()).round(2).to_csv(sys.stdout, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
