"""Trainings that differ in the seed alone, as far as runs record it."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from wsol.runs.provenance import ClassifiedFile, ExternalFile, Provenance, WeightsFile

_ANY = "*"


@dataclass(frozen=True)
class Training:
    """The training that a run evaluates.

    Attributes:
        weights: SHA-256 (hex) of the weights, or of the file of score maps or boxes.
        origin: The provenance of the run without what differs between weights; equal for all seeds of a training.
        settings: The recipe without the seed; None if the weights record no recipe.
        seed: The seed; None if it is not recorded.
    """

    weights: str
    origin: Provenance
    settings: dict[str, Any] | None
    seed: int | None

    @property
    def recipe(self) -> str:
        """The first digits of a SHA-256 (hex) of everything but the seed; empty if the weights record no recipe."""
        if self.settings is None:
            return ""
        text = json.dumps([self.origin.model, self.origin.method, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def training_of(provenance: Provenance) -> Training | None:
    """Return the training that a run evaluates; None for a baseline, which has no weights."""
    network = provenance.network
    if network is not None:
        recipe = dict(network.recipe or {})
        seed = recipe.pop("seed", None)
        sha256 = network.weights.sha256
        origin = replace(
            provenance,
            model=provenance.model.replace(f":{sha256[:8]}", f":{_ANY}", 1),
            network=replace(network, weights=WeightsFile(_ANY, _ANY), device=_ANY, recipe=None),
        )
        is_seed = type(seed) is int and 0 <= seed < 2**31  # anything else is not from wsol.train
        return Training(sha256, origin, recipe or None, seed if is_seed else None)
    if provenance.external is not None:
        origin = replace(provenance, model=_ANY, external=_blank(provenance.external))
        return Training(provenance.external.sha256, origin, None, None)
    return None


def _blank(file: ExternalFile) -> ExternalFile:
    """Return a file without its name and content."""
    blank = replace(file, path=_ANY, sha256=_ANY)
    return replace(blank, predictions=_blank(blank.predictions)) if isinstance(blank, ClassifiedFile) else blank


def recipe_differences(one: Training, other: Training) -> list[str]:
    """Return in what the recorded recipes of two trainings differ apart from the seed: ``momentum: 0.8, not 0.9``."""
    ours, theirs = one.settings or {}, other.settings or {}
    keys = dict.fromkeys([*ours, *theirs])
    return [f"{key}: {ours.get(key)}, not {theirs.get(key)}" for key in keys if ours.get(key) != theirs.get(key)]
