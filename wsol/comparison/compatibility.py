"""Whether runs compare, and what they are called beside each other."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature, signature_differences


def common_signature(runs: Sequence[StoredRun], names: Sequence[str]) -> str:
    """Return what the signatures of runs have in common, ``*`` where they may differ.

    Models and methods may differ, and the value of a tau that was chosen by the same rule on the same images.

    Args:
        runs: Those to compare.
        names: What they are called.

    Raises:
        InputError: They do not compare; the message says in what they differ.
    """
    if len(runs) < 2:
        raise InputError("a comparison takes two runs or more; name another RUN")
    folders = [run.folder.resolve() for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise InputError(f"{printable(str(run.folder))} is named twice; name each RUN once")
    first = str(_frame(runs[0]))
    for run, name in zip(runs[1:], names[1:], strict=True):
        if other := signature_differences(str(_frame(run)), first):
            raise InputError(
                f"{name} and {names[0]} do not compare ({printable('; '.join(other))}); {_mended(other, run, runs[0])}"
            )
    signatures = [Signature.parse(run.signature) for run in runs]
    same = {
        station: getattr(signatures[0], station)
        for station in ("model", "method", "tau")
        if len({getattr(signature, station) for signature in signatures}) == 1
    }
    return str(replace(_frame(runs[0]), **same))


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return what runs are called: their folder's name, with as much of the path before it as tells them apart."""
    paths = [folder.resolve().parts for folder in folders]
    names = []
    for own in paths:
        depths = (d for d in range(1, len(own)) if sum(other[-d:] == own[-d:] for other in paths) == 1)
        names.append(printable(Path(*own[-next(depths, len(own)) :]).as_posix()))
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _frame(run: StoredRun) -> Signature:
    """Return what has to be the same in all runs, ``*`` in the place of the rest."""
    signature = replace(Signature.parse(run.signature), model="*", method="*")
    if run.validation:
        return replace(signature, tau=f"tau:val({Signature.parse(run.validation.signature).dataset})=*")
    return replace(signature, tau="tau:oracle=*") if run.tau == "oracle" else signature


def _mended(apart: Sequence[str], run: StoredRun, first: StoredRun) -> str:
    """Return how to mend what two signatures differ in."""
    if any(phrase.startswith("dataset:") for phrase in apart):
        return "evaluate both on the same images, with masks or without"
    if (run.tau is None) != (first.tau is None) and run.protocol == first.protocol:
        return "boxes compare with boxes: to take them at a tau, the maps are needed"
    tau = "" if first.tau is None else f" --tau {first.tau}"
    like = f"--run {printable(shlex.quote(str(run.folder)))} --protocol {first.protocol.signature}{tau}"
    return f"score the one as the other is: python -m wsol.score {like}"
