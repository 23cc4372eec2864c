"""Comparability of runs, and their names in a comparison."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature, signature_differences


def common_signature(runs: Sequence[StoredRun], names: Sequence[str]) -> str:
    """Return the signature that runs have in common, ``*`` in fields where they may differ.

    Models and methods may differ, and the value of a tau that was chosen by the same rule on the same images.

    Args:
        runs: The runs.
        names: Names of the runs.

    Raises:
        InputError: The runs are not comparable; the message says in which fields they differ and how to fix it.
    """
    if len(runs) < 2:
        raise InputError("a comparison needs at least two runs; give another RUN")
    folders = [run.folder.resolve() for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise InputError(f"{printable(str(run.folder))} is given twice; give each RUN once")
    first = str(_comparable_signature(runs[0]))
    for run, name in zip(runs[1:], names[1:], strict=True):
        if differences := signature_differences(str(_comparable_signature(run)), first):
            raise InputError(
                f"{name} and {names[0]} are not comparable ({printable('; '.join(differences))}); "
                f"{_how_to_fix(differences, run, runs[0])}"
            )
    signatures = [Signature.parse(run.signature) for run in runs]
    equal_fields = {
        field: getattr(signatures[0], field)
        for field in ("model", "method", "tau")
        if len({getattr(signature, field) for signature in signatures}) == 1
    }
    return str(replace(_comparable_signature(runs[0]), **equal_fields))


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return the names of runs: the folder's name, with as much of the path before it as makes it unique."""
    paths = [folder.resolve().parts for folder in folders]
    names = []
    for path in paths:
        depths = (d for d in range(1, len(path)) if sum(other[-d:] == path[-d:] for other in paths) == 1)
        names.append(printable(Path(*path[-next(depths, len(path)) :]).as_posix()))
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _comparable_signature(run: StoredRun) -> Signature:
    """Return the signature with ``*`` in place of everything that may differ between runs."""
    signature = replace(Signature.parse(run.signature), model="*", method="*")
    if run.validation:
        return replace(signature, tau=f"tau:val({Signature.parse(run.validation.signature).dataset})=*")
    return replace(signature, tau="tau:oracle=*") if run.tau == "oracle" else signature


def _how_to_fix(differences: Sequence[str], run: StoredRun, first: StoredRun) -> str:
    """Return how to make two runs comparable whose signatures differ."""
    if any(difference.startswith("dataset:") for difference in differences):
        return "evaluate both on the same images, both with or both without masks"
    if (run.tau is None) != (first.tau is None) and run.protocol == first.protocol:
        return "a run on given boxes is comparable only with another such run, since boxes at a tau require score maps"
    tau = "" if first.tau is None else f" --tau {first.tau}"
    options = f"--run {printable(shlex.quote(str(run.folder)))} --protocol {first.protocol.signature}{tau}"
    return f"score one like the other: python -m wsol.score {options}"
