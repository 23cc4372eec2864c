"""Measure how often intervals contain the value of the population, and paired tests find differences that do not exist.

    python benchmarks/interval_coverage.py [--data-sets 500] [--images 100 300 1000 5000] [--run RUN]

Data sets are drawn with replacement from a population whose values are known: 120,000 images of a model of IoU curves
at 49 taus, or the images of a stored run whose protocol evaluates every contour. Intervals, optimism, p-values and
ranks are those of the package, from 1,000 resamples that are computed by products of matrices. The target of an oracle
number is the value of the population at the tau that is best for it. CorLoc is measured with one or two images a class
and with ten classes. Coverage of proportions follows from the binomial distribution without drawing. Rows that are
already in the tables are not computed again; delete a table to measure anew.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _candidates import Candidates, Number, exact_interval
from _data_sets import Design, Sums
from _populations import Population, draw_population, read_population
from numpy.typing import NDArray
from scipy.stats import binom

from wsol.metrics.base import METRICS
from wsol.metrics.intervals import wilson_ends
from wsol.metrics.significance import ALPHA, corrected_p_values, p_values, pairs, ranks, winners

FIXED = 0.2
PLAIN = {"gt_known_loc_acc": [0], "max_box_acc_v2": [1, 2, 3], "mean_iou": [4]}  # metric: its blocks of columns
CLASSES = {"corloc, one or two images a class": [0], "corloc, ten classes": [0]}
RUNS = 5  # that are compared
SHARED = 0.7  # of the images, on which they have the same boxes
SHARES = (0.005, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.995)


@dataclass(frozen=True)
class Outcome:
    """One number of one data set.

    Attributes:
        metric: The metric.
        rule: The threshold rule; empty for a metric without a threshold.
        target: Value of the population that the interval should contain.
        candidates: The intervals.
        optimism: Of an oracle number: its true value, and the estimates by the bootstrap and by folds.
    """

    metric: str
    rule: str
    target: float
    candidates: Candidates
    optimism: tuple[float, float, float] | None = None


def measure(population: Population, n: int, data_sets: int) -> Iterator[Outcome]:
    """Yield all numbers of data sets of ``n`` images."""
    rng = np.random.default_rng(n)
    columns = np.concatenate([population.hits(), population.curves], 1)
    design = Design.plan(population, np.array([n]), by_class=False)
    truth = design.mean_of_population(columns)
    for _ in range(data_sets):
        yield from measure_data_set(population.taus, design, columns, truth, PLAIN, rng)
        if population.pixels is not None:
            yield measure_pixels(population.pixels, design, rng)
    if population.classes > 1:
        columns = columns[:, : len(population.taus)]
        sizes = np.tile([1, 2], n)[: round(n / 1.5)], np.full(10, n // 10)
        for name, of_classes in zip(CLASSES, sizes, strict=True):
            design = Design.plan(population, of_classes, by_class=True)
            truth = design.mean_of_population(columns)
            for _ in range(data_sets):
                yield from measure_data_set(population.taus, design, columns, truth, {name: [0]}, rng)


def measure_data_set(
    grid: NDArray[np.float64],
    design: Design,
    columns: NDArray[np.float32],
    truth: NDArray[np.float64],
    metrics: dict[str, list[int]],
    rng: np.random.Generator,
) -> Iterator[Outcome]:
    """Draw a data set and a validation split; yield metrics, of which each block of columns has its own tau."""
    taus, drawn = len(grid), columns[design.draw(rng)]
    expected_at = truth.reshape(-1, taus)
    sums = Sums.compute(design, drawn, taus)
    on_val = (design.weights @ columns[design.draw(rng)]).reshape(-1, taus)
    for name, blocks in metrics.items():
        metric = METRICS.get(name.split(",")[0])
        places = {"fixed": int(np.abs(grid - FIXED).argmin()), "val": on_val[blocks].argmax(1)}
        for rule in ("oracle",) if len(blocks) > 1 else ("fixed", "val", "oracle"):
            place = places.get(rule, sums.of_all[blocks].argmax(1)) * np.ones(len(blocks), np.int64)
            parts = drawn.reshape(len(drawn), -1, taus)[:, blocks, place]
            per_image = parts.mean(1) if name in ("mean_iou", "max_box_acc_v2") else parts[:, 0].astype(bool)
            draws, value = sums.at(blocks, place), float(sums.of_all[blocks, place].mean())
            number = Number(metric, value, per_image, design.labels, draws, draws)
            expected = float(expected_at[blocks, place].mean())
            if rule != "oracle":
                yield Outcome(name, rule, expected, number.candidates())
                continue
            best, by_bootstrap, by_folds = sums.choose_again(blocks)
            number = replace(number, best=best, optimism=by_bootstrap, cross_fitted=by_folds)
            estimates = value - expected, by_bootstrap, by_folds
            yield Outcome(name, rule, float(expected_at[blocks].max(1).mean()), number.candidates(), estimates)


def measure_pixels(pixels: NDArray[np.float32], design: Design, rng: np.random.Generator) -> Outcome:
    """Draw a data set and return its PxAP."""
    metric = METRICS.get("pxap")
    assert metric.aggregate is not None
    drawn = pixels[design.draw(rng)]
    draws = metric.aggregate((design.shares @ drawn).astype(np.float64))
    value = float(metric.aggregate(drawn.mean(0, dtype=np.float64)))
    number = Number(metric, value, drawn, design.labels, draws, draws)
    return Outcome("pxap", "", float(metric.aggregate(pixels.mean(0, dtype=np.float64))), number.candidates())


def tabulate(outcomes: Iterator[Outcome]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of coverage and of optimism, in percent and points."""
    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = defaultdict(list)
    optimism: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for each in outcomes:
        for kind, numbers in each.candidates.items():
            found[each.metric, each.rule, kind].append((*numbers, each.target))
        if each.optimism:
            optimism[each.metric].append((*each.optimism, each.candidates["percentile"][2] - each.target))
    rows = []
    for key, numbers in found.items():
        low, high, estimates, targets = np.array(numbers).T
        above, below = (low > targets).mean(), (high < targets).mean()
        values = (1 - above - below, above, below, (high - low).mean(), (estimates - targets).mean())
        rows.append([*key, *np.round(100 * np.array(values), 2)])
    columns = ["metric", "rule", "interval", "coverage", "above", "below", "width", "bias"]
    estimates = [
        [name, *np.round(100 * np.array([*np.mean(each, 0), *np.std(each, 0)])[[0, 3, 1, 5, 2, 6]], 2)]
        for name, each in optimism.items()
    ]
    names = ["metric", "optimism", "excess", "bootstrap", "bootstrap_sd", "ten_folds", "ten_folds_sd"]
    return pd.DataFrame(rows, columns=columns), pd.DataFrame(estimates, columns=names)


def test_equal_runs(population: Population, n: int, data_sets: int) -> pd.DataFrame:
    """Compare runs whose values in the population are equal: a row per metric and rule, in percent."""
    rng, taus = np.random.default_rng(n), len(population.taus)
    design, hits = Design.plan(population, np.array([n]), by_class=False), population.hits()
    fixed = int(np.abs(population.taus - FIXED).argmin())
    cases = {
        ("gt_known_loc_acc", "fixed"): [0],
        ("gt_known_loc_acc", "oracle"): [0],
        ("max_box_acc_v2", "oracle"): [1, 2, 3],
    }
    found: dict[tuple[str, str], list[tuple[float, bool, bool]]] = {key: [] for key in cases}
    first, second = pairs(RUNS).T
    for _ in range(data_sets):
        common = design.draw(rng)
        own = np.stack([np.where(rng.random(n) < SHARED, common, design.draw(rng)) for _ in range(RUNS)], 1)
        drawn = hits[own].reshape(n, -1)
        means = (design.weights @ drawn).reshape(RUNS, -1, taus)
        draws = (design.shares @ drawn.astype(np.float32)).reshape(-1, RUNS, means.shape[1], taus)
        for (metric, rule), blocks in cases.items():
            at = (lambda array: array[..., fixed]) if rule == "fixed" else partial(np.max, axis=-1)
            values, again = at(means[:, blocks]).mean(1), at(draws[:, :, blocks]).mean(2, dtype=np.float64)
            gaps, gap_draws = values[first] - values[second], again[:, first] - again[:, second]
            p, corrected = p_values(gaps, gap_draws), corrected_p_values(gaps, gap_draws)
            tied = (ranks(winners(gaps, corrected, "higher"), RUNS) == 1).all()
            found[metric, rule].append(((p < ALPHA).mean(), bool(p[0] < ALPHA), bool(tied)))
    rows = [[*key, *np.round(100 * np.mean(each, 0)[[0, 2]], 2)] for key, each in found.items()]
    return pd.DataFrame(rows, columns=["metric", "rule", "false_positives", "all_tied"])


def cover_proportions() -> pd.DataFrame:
    """Return the coverage of intervals of a proportion, exactly: a row per number of images and share."""
    rows = []
    for n in (20, 60, 240, 1000):
        hits = np.arange(n + 1)
        kinds = {
            "wilson": wilson_ends(hits / n, n),
            "exact": np.array([exact_interval(count / n, n) for count in hits]).T,
            "percentile": np.stack([binom.ppf(tail, n, hits / n) / n for tail in (0.025, 0.975)]),
        }
        for share in SHARES:
            chances = binom.pmf(hits, n, share)
            for kind, (low, high) in kinds.items():
                covered = chances[(low <= share) & (share <= high)].sum()
                rows.append([n, share, kind, *np.round(100 * np.array([covered, chances @ (high - low)]), 2)])
    return pd.DataFrame(rows, columns=["images", "share", "interval", "coverage", "width"])


def main() -> int:
    """Compute the missing rows of the tables and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=500, help="data sets of each size (default: %(default)s)")
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000, 5000], help="sizes of data sets")
    parser.add_argument("--run", type=Path, help="folder of a run whose images are the population")
    parser.add_argument(
        "--out", type=Path, default=Path("results/coverage"), help="folder of the tables (default: %(default)s)"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cover_proportions().to_csv(options.out / "proportions.csv", index=False, lineterminator="\n")
    population = read_population(options.run) if options.run else draw_population(classes=4000, per_class=30)
    name = options.run.resolve().name if options.run else "model"
    for n in options.images:
        start = time.process_time()
        if not _has_rows(options.out / "coverage.csv", name, n):
            coverage, optimism = tabulate(measure(population, n, options.data_sets))
            _add_rows(options.out / "optimism.csv", optimism, name, n)
            _add_rows(options.out / "coverage.csv", coverage, name, n)
        if not _has_rows(options.out / "equal_runs.csv", name, n):
            tests = test_equal_runs(population, n, options.data_sets)
            _add_rows(options.out / "equal_runs.csv", tests, name, n)
        print(f"{name}, {n} images: {time.process_time() - start:.0f} processor seconds", flush=True)
    for table in sorted(options.out.glob("*.csv")):
        print(f"\n{table}\n{pd.read_csv(table).to_string(index=False, na_rep='')}")
    return 0


def _has_rows(path: Path, population: str, n: int) -> bool:
    if not path.exists():
        return False
    table = pd.read_csv(path)
    return bool(((table["population"] == population) & (table["images"] == n)).any())


def _add_rows(path: Path, rows: pd.DataFrame, population: str, n: int) -> None:
    rows.insert(0, "population", population)
    rows.insert(1, "images", n)
    earlier = [pd.read_csv(path)] if path.exists() else []
    table = pd.concat([*earlier, rows]).sort_values(["population", "images"], kind="stable")
    table.to_csv(path, index=False, lineterminator="\n")


if __name__ == "__main__":
    sys.exit(main())
