"""A run read back from its folder."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.collected import Collected
from wsol.errors import InputError
from wsol.metrics.base import Evidence
from wsol.metrics.classification import ranks_of
from wsol.protocols import Protocol, find_protocol
from wsol.protocols.truth import truth_of
from wsol.runs.predictions import guesses_of
from wsol.runs.truth import read_images
from wsol.tables import Tables, Tau

_TABLES = ("metrics", "classes", "groups", "errors", "baselines")
_ARRAYS = {"contours": "curves_v2", "second": "curves_second", "peaks": "peaks", "pixels": "pixels"}


@dataclass(frozen=True)
class StoredRun:
    """A complete run on disk.

    Attributes:
        folder: Where it lies.
        facts: What ``run.json`` holds.
        protocol: The conventions.
        tables: As they were written, without the column signature.
        found: What it collected; ``draw`` knows the boxes of the run's own tau alone.
        validation: The same of its validation split; None where it has none.
    """

    folder: Path
    facts: dict[str, Any]
    protocol: Protocol
    tables: Tables
    found: Collected
    validation: "StoredRun | None"

    @property
    def signature(self) -> str:
        """Everything that decides a number, in a line."""
        return str(self.facts["signature"])

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def tau(self) -> Tau | None:
        """The rule of the run's tau, or the number; None where no threshold enters."""
        rule, value = self.facts["tau"]["rule"], self.facts["tau"]["value"]
        return None if rule is None else value if rule == "fixed" else rule

    @property
    def taus(self) -> NDArray[np.float64]:
        """The grid of its curves; empty where no threshold enters."""
        return self.protocol.taus if self.found.evidence.curves.shape[1] > 1 else np.empty(0)

    @property
    def fixed(self) -> float | None:
        """The tau of the rule ``fixed`` in its tables; None where there is none."""
        fixed = self.facts["tau"]["fixed"]
        return None if fixed is None else float(fixed)

    @cached_property
    def maps(self) -> NDArray[np.float32] | None:
        """Its raw maps, mapped into memory, ``(n, k, ...)``; None where it has none."""
        path = self.folder / "maps.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None


def read_run(folder: str | Path) -> StoredRun:
    """Reads a run.

    Args:
        folder: Where ``wsol.eval`` or ``wsol.score`` wrote it.

    Raises:
        InputError: It is no complete run of this version, or its files do not belong together.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        protocol = find_protocol(facts["protocol"]["signature"])
        tables = {name: _table(folder / f"{name}.csv") for name in _TABLES}
        predictions = pd.read_parquet(folder / "predictions.parquet")
        found = _found(folder, facts, protocol, predictions)
        known = (facts["signature"], *(facts["tau"][key] for key in ("rule", "value", "fixed")), facts["versions"])
        held_out = bool(facts["val"])
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: {folder} is no complete run; evaluate again") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(f"{folder} is not a run of this version ({error!r:.200}); evaluate again") from error
    if found is None or not all(isinstance(part, kind) for part, kind in zip(known, _KINDS, strict=True)):
        raise InputError(f"the files of {folder} do not belong together; evaluate again")
    validation = read_run(folder / "val") if held_out else None
    return StoredRun(folder, facts, protocol, Tables(**tables, predictions=predictions), found, validation)


_KINDS: tuple[Any, ...] = (str, str | None, *2 * (float | int | None,), dict)


def _found(folder: Path, facts: dict[str, Any], protocol: Protocol, predictions: pd.DataFrame) -> Collected | None:
    """Returns what was collected; None where the files do not fit each other."""
    images, sizes = read_images(folder, facts["dataset"])
    samples, n = images.samples, len(images)
    classes, scores, boxes = guesses_of(predictions, n)
    curves, shown = _array(folder, "curves"), _array(folder, "boxes")
    extra = {part: _array(folder, name) for part, name in _ARRAYS.items()}
    if (
        curves is None
        or any(len(array) != n for array in (curves, shown, *extra.values()) if array is not None)
        or (predictions["image_id"].to_numpy().reshape(n, -1) != np.array([[s.image_id] for s in samples])).any()
        or images.fingerprint != facts["dataset"]["fingerprint"]
        or curves.shape[1] not in (1, len(protocol.taus))
    ):
        return None
    evidence = Evidence(
        curves=curves,
        delta=protocol.delta,
        labels=np.array([sample.label for sample in samples]),
        ranks=ranks_of(classes),
        complete=not bool(np.isnan(boxes[:, 0]).any()),
        **extra,
    )
    truths = [truth_of(protocol, *pair) for pair in zip(samples, sizes, strict=True)]
    skipped, clipped = dict(facts["skipped"]), int(facts["clipped_boxes"])
    return Collected(images, truths, classes, scores, evidence, lambda i, _: boxes[i], skipped, clipped, shown)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).drop(columns="signature")


def _array(folder: Path, name: str) -> NDArray[Any] | None:
    path = folder / f"{name}.npy"
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None
