"""Comparability of runs, and their names in a comparison."""

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.protocols import canonical_signature, protocol_family
from wsol.runs.provenance import NetworkRecord
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature, drop_images, drop_masks, keep_common_images, signature_differences


def common_signature(runs: Sequence[StoredRun], names: Sequence[str]) -> str:
    """Return the signature that runs have in common, ``*`` in fields where they may differ.

    Models and methods may differ, and the value of a tau or another setting that the same rule chose on the same
    images; if any tau was chosen with pseudo boxes, the boxes of these images may differ too. Runs of the same score
    maps may differ in the protocol instead.

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
    any_boxes = any(map(_is_pseudo, runs))
    signatures = [_comparable_signature(run, any_boxes) for run in runs]
    if differ_in_protocol_only(runs):
        signatures = [replace(each, protocol="*") for each in _keep_common_masks(signatures)]
    first, *others = keep_common_images([*map(str, signatures)])
    for run, name, signature in zip(runs[1:], names[1:], others, strict=True):
        if differences := signature_differences(signature, first):
            raise InputError(
                f"{name} and {names[0]} are not comparable ({printable('; '.join(differences))}); "
                f"{_how_to_fix(differences, run, runs[0])}"
            )
    signatures = [_canonical_signature(run) for run in runs]
    equal_fields = {
        field: getattr(signatures[0], field)
        for field in ("model", "method", "protocol", "tau")
        if len({getattr(signature, field) for signature in signatures}) == 1
    }
    return str(replace(Signature.parse(first), **equal_fields))


def differ_in_protocol_only(runs: Sequence[StoredRun]) -> bool:
    """Return whether runs score the same maps or boxes under different protocols."""
    provenances = [replace(run.metadata.provenance, view=None, network=_without_recipe(run)) for run in runs]
    maps = {(run.metadata.checksums or {}).get("maps.npy") for run in runs} - {None}  # only a run of a network has them
    families = {protocol_family(_canonical_signature(run).protocol) for run in runs}
    return len(families) > 1 and len(maps) <= 1 and all(each == provenances[0] for each in provenances)


def signature_notes(names: Sequence[str], runs: Sequence[StoredRun]) -> Iterator[str]:
    """Yield in what comparable runs differ although they seem to be the same, and what their signatures leave open.

    Args:
        names: Names of the runs.
        runs: The runs.
    """
    if differ_in_protocol_only(runs):
        yield "the runs score the same maps under different protocols: only the convention makes the differences"
    if pseudo := [name for name, run in zip(names, runs, strict=True) if _is_pseudo(run)]:
        yield f"{', '.join(pseudo)}: tau is chosen with pseudo boxes instead of the boxes of the data set"
    fields = [Signature.parse(run.signature).dataset for run in runs]
    unknown = [name for name, field in zip(names, fields, strict=True) if field == drop_images(field)]
    if 0 < len(unknown) < len(runs):
        yield f"{', '.join(unknown)}: whether the images are those of the other runs is not known, as there were none"
    for (one, run), (other, another) in combinations(zip(names, runs, strict=True), 2):
        models = [Signature.parse(each.signature).model for each in (run, another)]
        networks = [each.metadata.provenance.network for each in (run, another)]
        if models[0] != models[1] and networks[0] and networks[1] and networks[0].weights == networks[1].weights:
            pair = printable(f"{models[0]}, not {models[1]}")
            yield f"{one} and {other} have the same weights, but differ in what else decides the scores: {pair}"


def recorded_differences(one: StoredRun, other: StoredRun) -> list[str]:
    """Return in what two runs differ that is not part of a signature, one phrase each: ``torch: 2.9.0, not 2.10.0``."""
    facts, others = _recorded_facts(one), _recorded_facts(other)
    keys = dict.fromkeys([*facts, *others])
    return [f"{key}: {facts.get(key)}, not {others.get(key)}" for key in keys if facts.get(key) != others.get(key)]


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return the names of runs: the folder's name, with as much of the path before it as makes it unique."""
    paths = [folder.resolve().parts for folder in folders]
    names = []
    for path in paths:
        depths = (d for d in range(1, len(path)) if sum(other[-d:] == path[-d:] for other in paths) == 1)
        names.append(printable(Path(*path[-next(depths, len(path)) :]).as_posix()))
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _is_pseudo(run: StoredRun) -> bool:
    """Return whether the tau of a run is chosen with pseudo boxes."""
    return Signature.parse(run.signature).tau.startswith("tau:val-pseudo(")


def _canonical_signature(run: StoredRun) -> Signature:
    """Return the signature with the protocol as this version writes it."""
    signature = Signature.parse(run.signature)
    return replace(signature, protocol=canonical_signature(signature.protocol))


def _keep_common_masks(signatures: Sequence[Signature]) -> list[Signature]:
    """Return signatures without the fingerprints of masks where some have none, as some protocols ignore them."""
    datasets = [drop_images(signature.dataset) for signature in signatures]
    masked = [dataset for dataset in datasets if dataset != drop_masks(dataset)]
    if len(masked) == len(datasets) or len({*masked}) > 1:
        return [*signatures]
    return [replace(each, dataset=drop_masks(each.dataset), tau=drop_masks(each.tau)) for each in signatures]


def _comparable_signature(run: StoredRun, any_boxes: bool) -> Signature:
    """Return the signature with ``*`` in place of everything that may differ between runs.

    Args:
        run: The run.
        any_boxes: Whether the boxes that tau was chosen with may differ; the images may not.
    """
    signature = replace(_canonical_signature(run), model="*", method="*")
    signature = replace(signature, protocol=protocol_family(signature.protocol))
    if run.validation and any_boxes:
        images = run.validation.results.images
        ids = hashlib.sha256("\0".join(sample.image_id for sample in images).encode()).hexdigest()
        return replace(signature, tau=f"tau:val({images.name}-{images.split}#{len(images)}:ids={ids[:8]},boxes=*)=*")
    if run.validation:
        return replace(signature, tau=f"tau:val({Signature.parse(run.validation.signature).dataset})=*")
    return replace(signature, tau="tau:oracle=*") if run.tau == "oracle" else signature


def _recorded_facts(run: StoredRun) -> dict[str, object]:
    network = _without_recipe(run)
    return {**run.metadata.versions, **(asdict(network) if network else {})}


def _without_recipe(run: StoredRun) -> NetworkRecord | None:
    """Return the network of a run without the recipe, which belongs to the weights and is not always recorded."""
    network = run.metadata.provenance.network
    return network and replace(network, recipe=None)


def _how_to_fix(differences: Sequence[str], run: StoredRun, first: StoredRun) -> str:
    """Return how to make two runs comparable whose signatures differ."""
    if any(difference.startswith("dataset:") for difference in differences):
        return (
            "evaluate both on the same images, with the same annotation: the same boxes, and the same masks or none, "
            "which wsol.score --run reads if --dataset is given"
        )
    if (run.tau is None) != (first.tau is None) and run.protocol == first.protocol:
        return "a run on given boxes is comparable only with another such run, since boxes at a tau require score maps"
    only_tau = all(difference.startswith("tau:") for difference in differences)  # then the protocols may differ
    for again, other in ((run, first), (first, run)):
        if other.tau == "val" and not _can_choose_tau_as(again, other):
            continue
        protocol = (again if only_tau else other).protocol.signature
        tau = "" if other.tau is None else f" --tau {other.tau}"
        choice = f" (or repeat the command of {printable(run.name)} with --tau val)" if again is first else ""
        return f"score one like the other{choice}{_scoring_command(again, f'--protocol {protocol}{tau}')}"
    return "choose tau on the same images in both, or score both with the same --tau: a number, or oracle"


def _can_choose_tau_as(run: StoredRun, other: StoredRun) -> bool:
    """Return whether a run can be scored with the tau chosen on the images on which that of another run is."""
    if run.validation is None:  # only a baseline can be scored on images that it has not been scored on
        return run.metadata.provenance.baseline is not None
    any_boxes = _is_pseudo(run) or _is_pseudo(other)
    taus = {drop_images(_comparable_signature(each, any_boxes).tau) for each in (run, other)}
    return len(taus) == 1


def _scoring_command(run: StoredRun, options: str) -> str:
    """Return how to score a run again with other options, as the end of a sentence."""
    folder, provenance, dataset = printable(shlex.quote(str(run.folder))), run.metadata.provenance, run.metadata.dataset
    if provenance.baseline is not None:
        split = " --split val" if dataset.split == "val" else ""
        source = f"--baseline {shlex.quote(provenance.baseline)} --dataset {shlex.quote(dataset.name)}{split}"
        return f", with --data-root and --limit as before: python -m wsol.score {source} {options}"
    if provenance.view is None:
        return f": {folder} has no raw maps, so repeat the command that wrote it with {options}"
    if dataset.content.masks:  # a run stores none
        run_options = f"--run {folder} --dataset {shlex.quote(dataset.name)} {options}"
        return f", with --data-root as before: python -m wsol.score {run_options}"
    return f": python -m wsol.score --run {folder} {options}"
