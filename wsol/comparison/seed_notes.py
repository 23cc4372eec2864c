"""Notes on groups of seeds: what their numbers do not cover."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from wsol.comparison.groups import SeedGroup
from wsol.metrics.base import METRICS, row_title
from wsol.runs.read import StoredRun

_FEW = 5  # seeds, below which a standard deviation is known to a factor of two at best


def seed_notes(groups: Sequence[SeedGroup]) -> Iterator[str]:
    """Yield what the numbers of groups of seeds do not cover, one sentence each; nothing if all are single runs.

    Args:
        groups: The runs and groups of seeds.
    """
    several = [group for group in groups if len(group.runs) > 1]
    if not several:
        return
    if few := [f"{group.name} ({len(group.runs)})" for group in several if len(group.runs) < _FEW]:
        yield (
            f"{', '.join(few)}: few seeds tell little about the spread over seeds; where it exceeds that over images, "
            "intervals are too narrow and differences significant too often"
        )
    if single := [group.name for group in groups if len(group.runs) == 1 and group.trainings[0] is not None]:
        yield (
            f"{', '.join(single)}: a single training, whose spread over seeds is unknown: its interval and its "
            "differences from others do not contain it"
        )
    for group in several:
        if any(training is None or training.settings is None for training in group.trainings):
            yield (
                f"{group.name}: not all weights record a recipe, as those of wsol.train do, so nothing shows whether "
                "the trainings differ in the seed alone"
            )
        if missing := _missing_metrics(group):
            yield f"{group.name}: not every run has {missing}, which is left out"
    for one, other in combinations(several, 2):
        shared = {*one.weights} & {*other.weights}
        if shared == {*one.weights} == {*other.weights}:
            yield (
                f"{one.name} and {other.name} are the same trainings: every resample has the same seeds of both, so "
                "that their difference is paired over seeds too"
            )
        elif shared:
            yield (
                f"{one.name} and {other.name} have {len(shared)} trainings in common, but not all: their seeds are "
                "resampled independently, which makes their interval too wide; give the same trainings to both"
            )


def _missing_metrics(group: SeedGroup) -> str:
    """Return the titles of the metrics that some runs of a group have and others do not."""
    by_run = [_metrics(run) for run in group.runs]
    partial = {name for metrics in by_run for name in metrics if not all(name in each for each in by_run)}
    return ", ".join(row_title(name).strip() for name in sorted(partial))


def _metrics(run: StoredRun) -> set[str]:
    every = map(METRICS.get, METRICS.names())
    return {metric.name for metric in every if metric.applies(run.results.stats)}
