"""The entries of a comparison: single runs, and groups of runs of one training with several seeds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.comparison.compatibility import run_names
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.runs.read import StoredRun, read_run
from wsol.runs.signature import Signature
from wsol.runs.trainings import Training, recipe_differences, training_of

Run = str | Path | StoredRun


@dataclass(frozen=True)
class SeedGroup:
    """Runs of trainings that differ in the seed alone; a single run is a group of one.

    Attributes:
        name: Name in the comparison.
        runs: The runs.
        run_names: Their names in messages; that of a single run is the name of the group.
    """

    name: str
    runs: tuple[StoredRun, ...]
    run_names: tuple[str, ...]

    @cached_property
    def trainings(self) -> tuple[Training | None, ...]:
        """The training of each run; None for a baseline."""
        return tuple(training_of(run.metadata.provenance) for run in self.runs)

    @property
    def weights(self) -> tuple[str, ...]:
        """The identity of the weights of each run."""
        return tuple("" if training is None else training.weights for training in self.trainings)

    @property
    def tau(self) -> float:
        """Mean of the runs' own taus; NaN if they use no threshold."""
        taus = [run.metadata.tau.value for run in self.runs]
        known = [tau for tau in taus if tau is not None]
        return np.nan if not known else known[0] if len({*known}) == 1 else float(np.mean(known))

    @property
    def model(self) -> str:
        """Field of the signature, with ``*`` in place of the weights if there are several."""
        training = self.trainings[0]
        if len(self.runs) == 1 or training is None:
            return Signature.parse(self.runs[0].signature).model
        return training.origin.model

    @property
    def signature(self) -> str:
        """Signature of the run; of several, with all values of a field in which they differ, separated by ``;``."""
        parsed = [astuple(Signature.parse(run.signature)) for run in self.runs]
        return "|".join(";".join(dict.fromkeys(values)) for values in zip(*parsed, strict=True))

    @property
    def order(self) -> NDArray[np.int64]:
        """Order of the runs that does not depend on that in which they were given."""
        return np.argsort(self.weights, kind="stable")


def parse_arguments(arguments: Sequence[str]) -> list[str] | dict[str, list[str]]:
    """Parse the arguments of the command: ``RUN``, or ``NAME=RUN,RUN,...`` for a group of seeds.

    A folder whose name has such characters is a run.

    Raises:
        InputError: A name is given twice, or a list has an empty name of a run.
    """
    split = [(None, [argument]) if Path(argument).exists() else _split(argument) for argument in arguments]
    if all(name is None for name, _ in split):
        return [*arguments]
    unnamed = iter(run_names([Path(runs[0]) for name, runs in split if name is None]))
    groups = [(next(unnamed) if name is None else name, runs) for name, runs in split]
    _check_names([name for name, _ in groups])
    for name, runs in groups:
        if "" in runs:
            raise InputError(f"the group {quote(name)} has an empty name of a run; write {name}=RUN,RUN without spaces")
    return dict(groups)


def read_groups(runs: Sequence[Run] | Mapping[str, Run | Sequence[Run]]) -> tuple[SeedGroup, ...]:
    """Read the runs of a comparison.

    Args:
        runs: Single runs; or single runs and sequences of runs by name.

    Raises:
        InputError: A folder is not a run folder, a group is empty, two have the same name, or the runs of a group
            differ in more than the weights.
    """
    if isinstance(runs, Run):
        raise InputError("one run is given without a list; give a list of two or more, or a dictionary")
    if not isinstance(runs, Mapping):
        stored = tuple(map(_read, runs))
        names = run_names([run.folder for run in stored])
        return tuple(SeedGroup(name, (run,), (name,)) for name, run in zip(names, stored, strict=True))
    groups = []
    for name, members in runs.items():
        of_group = tuple(map(_read, [members] if isinstance(members, Run) else members))
        if not of_group:
            raise InputError(f"the group {quote(name)} has no run; give at least one")
        shown = printable(name)
        folders = run_names([run.folder for run in of_group])
        run_name = tuple(f"{shown} ({folder})" for folder in folders) if len(of_group) > 1 else (shown,)
        groups.append(SeedGroup(shown, of_group, run_name))
    _check_names([group.name for group in groups])
    for group in groups:
        check_group(group)
    return tuple(groups)


def check_group(group: SeedGroup) -> None:
    """Check that the runs of a group are the same training with several seeds, as far as they record it.

    That they are on the same images under the same protocol is left to the comparison of all runs.

    Raises:
        InputError: They are not; the message says in what they differ.
    """
    if len(group.runs) == 1:
        return
    if None in group.trainings:
        name = group.run_names[group.trainings.index(None)]
        raise InputError(f"{name} is a baseline, which no training made; give it outside of the group")
    members = [*zip(group.run_names, group.runs, [each for each in group.trainings if each], strict=True)]
    for (one, run, training), (other, other_run, other_training) in combinations(members, 2):
        if training.weights == other_training.weights:
            raise InputError(
                f"{one} and {other} have the same weights, which is no spread over seeds; give each training once"
            )
        if training.origin != other_training.origin:
            raise InputError(
                f"{other} and {one} differ in more than the weights ({_differences(other_run, run)}); give runs of one "
                "training with several seeds, or each as a run"
            )
        if training.settings is None or other_training.settings is None:
            continue
        if differences := recipe_differences(other_training, training):
            raise InputError(
                f"the trainings of {other} and {one} differ in more than the seed "
                f"({printable('; '.join(differences))[:400]}); give runs of one recipe with several seeds, or each as "
                "a run"
            )
        if training.seed == other_training.seed:
            raise InputError(
                f"the trainings of {one} and {other} have the same recipe and the same seed, {training.seed}; give "
                "trainings with several seeds"
            )


def _split(argument: str) -> tuple[str | None, list[str]]:
    name, equals, rest = argument.partition("=")
    if not equals or not name or "/" in name:
        return None, [argument]
    return name, [rest] if Path(rest).exists() else rest.split(",")


def _read(run: Run) -> StoredRun:
    if run == "":  # which would be the current folder
        raise InputError("a run has an empty name; give its folder")
    return run if isinstance(run, StoredRun) else read_run(run)


def _check_names(names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"two entries of the comparison are named {quote(name)}; give each another name")
        if not name.strip():
            raise InputError("a group has an empty name; give it one")


def _differences(one: StoredRun, other: StoredRun) -> str:
    """Return in what two runs differ: fields of the signature, apart from the weights, or records of the network."""
    pair = [training_of(run.metadata.provenance) for run in (one, other)]
    records = [_record(training) for training in pair if training]
    keys = [key for key in records[0] if records[0][key] != records[1].get(key)]
    return printable("; ".join(f"{key}: {records[0][key]}, not {records[1].get(key)}" for key in keys))[:400]


def _record(training: Training) -> dict[str, object]:
    origin = training.origin
    kind = {"made by": "a network" if origin.network else "another program"}
    details = vars(origin.network or origin.external)
    return {**kind, "model": origin.model, "view": origin.view, **details, "method": origin.method}
