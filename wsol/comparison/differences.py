"""Paired differences between runs on the same images, and the ranks that follow from them."""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
import pandas as pd

from wsol.comparison.notes import TIE
from wsol.metrics.bootstrap import intervals
from wsol.metrics.seeds import average_seeds, seed_picks
from wsol.metrics.significance import corrected_p_values, p_values, pairs, ranks, winners
from wsol.metrics.summary import ResampledMetric, resample_metrics
from wsol.runs.read import StoredRun

Resampled = Mapping[tuple[str, str | None], ResampledMetric]
"""Metrics by name and rule of tau."""


def resample(run: StoredRun) -> Resampled:
    """Return the metrics of a run on the resamples of the images, which are the same for all runs on these images."""
    held_out = run.validation.results.stats if run.validation else None
    resampled = resample_metrics(run.results.stats, run.taus, run.metadata.tau.fixed, held_out)
    return {(each.metric.name, each.rule): each for each in resampled}


def average_runs(resampled: Sequence[Resampled], weights: Sequence[str]) -> Resampled:
    """Return the mean over trainings that differ in the seed alone, on the resamples of seeds and images.

    Args:
        resampled: What ``resample`` returned for the run of each training; that of a single one is returned as it is.
        weights: What identifies the weights of each; the order of the trainings does not change the result.

    Returns:
        The metrics that every run has.
    """
    by_run = [each for _, each in sorted(zip(weights, resampled, strict=True), key=itemgetter(0))]
    picks = seed_picks(sorted(weights))
    common = [key for key in by_run[0] if all(key in each for each in by_run)]
    return {key: average_seeds([each[key] for each in by_run], picks) for key in common}


def compare_pairs(names: Sequence[str], resampled: Sequence[Resampled]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test the differences between all pairs of runs on the same images.

    Args:
        names: Names of the runs, or of groups of seeds.
        resampled: What ``resample`` or ``average_runs`` returned for each.

    Returns:
        ``metrics`` and ``differences`` of ``wsol.comparison.compare.Comparison``.
    """
    metrics, differences = [], []
    for key in dict.fromkeys(key for run_metrics in resampled for key in run_metrics):
        having = [i for i, run_metrics in enumerate(resampled) if key in run_metrics]
        results = [resampled[i][key] for i in having]
        values, draws = np.array([each.value for each in results]), np.stack([each.draws for each in results], 1)
        first, second = pairs(len(having)).T
        gaps, gap_draws = values[first] - values[second], draws[:, first] - draws[:, second]
        p, corrected = p_values(gaps, gap_draws), corrected_p_values(gaps, gap_draws)
        winning = winners(gaps, corrected, results[0].metric.better)
        order = ranks(winning, len(having))
        for i, each, rank in zip(having, results, order.tolist(), strict=True):
            percent = (100 * number for number in (each.value, each.interval.low, each.interval.high))
            rank_and_tie = (rank, (order == rank).sum() > 1) if len(having) > 1 else (pd.NA, pd.NA)
            spread = (100 * each.spread, each.seeds)
            metrics.append([names[i], *key, each.tau, *percent, *rank_and_tie, *spread])
        low, high = 100 * intervals(gap_draws)
        for pair, row in enumerate(zip(100 * gaps, low, high, p, corrected, strict=True)):
            sides = [names[having[first[pair]]], names[having[second[pair]]]]
            differences.append([*sides, *key, *row, sides[winning[pair]] if winning[pair] >= 0 else TIE])
    columns = ["run", "metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "rank", "tied"]
    table = pd.DataFrame(metrics, columns=[*columns, "sd", "seeds"]).astype({"rank": "Int64", "tied": "boolean"})
    if (table["seeds"] > 1).any():
        columns[5:5] = ["sd", "seeds"]
    table = table[columns]
    columns = ["run", "other", *columns[1:3], "difference", "ci_low", "ci_high", "p", "p_corrected", "better"]
    return table, pd.DataFrame(differences, columns=columns)
