"""Tables of a search: its trials, the trainings with the best settings, and what these reach on the split test."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from wsol.io.display import printable
from wsol.runs.read import Evaluation
from wsol.searches.plan import SearchPlan
from wsol.searches.trials import Result, Task

_FIRST, _OUTCOME = ["network", "method", "trial"], ["value", "tau", "seconds", "status", "reason", "signature"]
TEST_COLUMNS = ["network", "method", "metric", "tau_rule", "mean", "sd", "ci_low", "ci_high", "seeds"]


def trials_table(plan: SearchPlan) -> pd.DataFrame:
    """Return all finished trials: by network and method, in the order of the trials."""
    best = [task for each in plan.config.candidates if (task := plan.best(each))]
    order = {candidate.folder: i for i, candidate in enumerate(plan.config.candidates)}
    finished = [(task, result) for task in plan.trials if (result := plan.result(task))]
    finished.sort(key=lambda pair: order[pair[0].candidate.folder])
    drawn = dict.fromkeys(name for task, _ in finished for name in task.drawn)
    rows = [
        {**_describe(task), **task.drawn, **_outcome(result), "best": any(task is each for each in best)}
        for task, result in finished
    ]
    return pd.DataFrame(rows, columns=[*_FIRST, *drawn, *_OUTCOME[:4], "best", *_OUTCOME[4:]])


def seeds_table(plan: SearchPlan) -> pd.DataFrame:
    """Return the finished trainings with the best settings."""
    finished = [(task, result) for task in plan.retrainings() if (result := plan.result(task))]
    rows = [
        {**_describe(task), "seed": task.recipe.seed, **_outcome(result), "folder": printable(str(task.run_folder))}
        for task, result in finished
    ]
    return pd.DataFrame(rows, columns=[*_FIRST, "seed", *_OUTCOME[:4], "folder", *_OUTCOME[4:]])


def test_table(plan: SearchPlan) -> pd.DataFrame:
    """Return every metric on the split test: mean and spread over the seeds, and the interval over images.

    Returns:
        network, method, metric, tau_rule, mean (percent), sd (with ``n - 1``; NaN for a single seed), ci_low, ci_high
        (means of the ends of the seeds' 95 % intervals over images), seeds (the number that did not diverge).
    """
    tables = []
    for task in plan.retrainings():
        if (result := plan.result(task)) and result.value is not None:
            tables.append(Evaluation.read(task.run_folder).metrics.assign(**_describe(task)))
    if not tables:
        return pd.DataFrame(columns=TEST_COLUMNS)
    groups = pd.concat(tables).groupby(TEST_COLUMNS[:4], sort=False, dropna=False)
    table = groups.agg(
        mean=("value", "mean"),
        sd=("value", "std"),
        ci_low=("ci_low", "mean"),
        ci_high=("ci_high", "mean"),
        seeds=("value", "size"),
    )
    return table.reset_index()[TEST_COLUMNS]


def values_by_candidate(plan: SearchPlan) -> Iterable[tuple[str, str, list[float], int, float]]:
    """Yield network, method, values of the trials, number of diverged trials and best value of each candidate."""
    for candidate in plan.config.candidates:
        found = [plan.result(task) for task in plan.trials if task.candidate is candidate]
        results = [each for each in found if each is not None]
        values = [each.value for each in results if each.value is not None]
        best = plan.best(candidate)
        top = np.nan if best is None else plan.results[best.folder].value
        yield candidate.network, candidate.method, values, len(results) - len(values), np.nan if top is None else top


def _describe(task: Task) -> dict[str, str | int]:
    return dict(zip(_FIRST, [task.candidate.network, task.candidate.method, task.trial], strict=True))


def _outcome(result: Result) -> dict[str, object]:
    return {name: getattr(result, name) for name in _OUTCOME}
