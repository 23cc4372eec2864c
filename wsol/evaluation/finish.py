"""The result of a run: from what was collected to tables and a folder."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from wsol.datasets import Dataset
from wsol.evaluation.tables import Tables, Tau, choose_tau_index, fixed_tau, tabulate
from wsol.metrics.summary import round_tau
from wsol.protocols import Protocol, View
from wsol.runs.ground_truth import ground_truth_table
from wsol.runs.results import LocalizationResults
from wsol.runs.signature import Signature
from wsol.runs.store import package_versions, write_run
from wsol.runtime.cost import Clock


@dataclass(frozen=True)
class Evaluation:
    """The result of a run.

    Attributes:
        tables: All its tables.
        run: What ``run.json`` holds.
    """

    tables: Tables = field(repr=False)
    run: dict[str, Any] = field(repr=False)

    @property
    def signature(self) -> str:
        """Everything that decides a number, in a line."""
        return str(self.run["signature"])

    @property
    def metrics(self) -> pd.DataFrame:
        """metric, tau_rule, tau, value (percent), ci_low, ci_high, n."""
        return self.tables.metrics

    @property
    def classes(self) -> pd.DataFrame:
        """The same per class."""
        return self.tables.classes

    @property
    def baselines(self) -> pd.DataFrame:
        """The localization metrics of boxes that look at no image, with the run's classification."""
        return self.tables.baselines

    @property
    def predictions(self) -> pd.DataFrame:
        """One row an image and rank, see ``wsol.runs.predictions``."""
        return self.tables.predictions


@dataclass(frozen=True)
class Provenance:
    """Where maps or boxes come from, for the signature and ``run.json``.

    Attributes:
        model: Station of the signature.
        method: Station of the signature.
        view: What a map was made of; None where there are no raw maps.
        facts: Further entries of ``run.json``.
    """

    model: str
    method: str
    view: View | None
    facts: Mapping[str, Any]


def file_signature(path: Path, digest: str) -> str:
    """Return the signature's name of a file or folder, with the hash (hex) of what it holds."""
    return f"{path.stem.replace('|', '_')}:{digest[:8]}"


def run_signature(
    origin: Provenance, protocol: Protocol, images: Dataset, tau: Tau, held_out: str | None, chosen: float | None = None
) -> str:
    """Return the signature of a run; without the chosen tau it is what is known before it.

    Args:
        origin: Where maps or boxes come from.
        protocol: The conventions.
        images: The evaluated images.
        tau: Of the run.
        held_out: The validation images, where tau is chosen on some, and what was made of them if it is of another
            origin.
        chosen: The tau that was chosen.
    """
    rule = f"tau:{tau}" if held_out is None else f"tau:{tau}({held_out})"
    if not uses_threshold(origin, protocol):
        rule = "tau:none"
    elif isinstance(tau, str) and chosen is not None:
        rule += f"={chosen:g}"
    stations = (images.signature, origin.model, origin.method, protocol.signature, rule, f"wsol:{version('wsol')}")
    return str(Signature(*stations))


def uses_threshold(origin: Provenance, protocol: Protocol) -> bool:
    """Return whether a threshold enters: boxes are there already."""
    return len(protocol.taus) > 0 and not origin.method.startswith("boxes")


def finish_run(
    origin: Provenance,
    protocol: Protocol,
    found: LocalizationResults,
    tau: Tau,
    chosen_on: LocalizationResults | None,
    held_out: str | None,
    request: str,
    pool: Executor,
    clock: Clock,
    folder: Path,
    gallery: Callable[[pd.DataFrame, str], bytes] | None = None,
) -> Evaluation:
    """Compute the tables of a run and writes its folder.

    Args:
        origin: Where maps or boxes come from.
        protocol: The conventions.
        found: The evaluated images.
        tau: Of the run's predictions.
        chosen_on: The validation images, if tau was chosen on them.
        held_out: As for ``signature``.
        request: What was asked for: the signature of before the run.
        pool: Threads that work on it.
        clock: Has the seconds of the stations before.
        folder: A claimed folder.
        gallery: Makes a PNG file of the predictions, with the signature in it, where there are images to show.
    """
    with clock("metrics"):
        level = choose_tau_index(protocol, tau, chosen_on or found) if uses_threshold(origin, protocol) else 0
        tables = tabulate(protocol, found, tau, level, chosen_on, pool)
    chosen = round_tau(protocol.taus, level) if uses_threshold(origin, protocol) else None
    signed = run_signature(origin, protocol, found.images, tau, held_out, chosen)
    with clock("pictures"):
        pictures = {"gallery.png": gallery(tables.predictions, signed)} if gallery else {}
    run = {
        "signature": signed,
        "request": request,
        "dataset": {
            "name": found.images.name,
            "split": found.images.split,
            "origin": found.images.origin,
            "n": len(found.images),
            "fingerprint": found.images.fingerprint,
            "classes": list(found.images.classes),
        },
        "origin": {"model": origin.model, "method": origin.method},
        "view": asdict(origin.view) if origin.view else None,
        **origin.facts,
        "protocol": {"signature": protocol.signature},
        "tau": {
            "rule": None if chosen is None else tau if isinstance(tau, str) else "fixed",
            "value": chosen,
            "fixed": fixed_tau(protocol, tau),
        },
        "skipped": found.skipped,
        "clipped_boxes": found.clipped,
        "val": {"skipped": chosen_on.skipped, "clipped_boxes": chosen_on.clipped} if chosen_on else None,
        "notes": [*origin.facts.get("notes", ()), *_notes(found)],
        "versions": package_versions(),
        "seconds": {station: round(seconds, 3) for station, seconds in clock.seconds.items()},
    }
    evidence = found.stats
    arrays = {
        "curves": evidence.curves,
        "curves_v2": evidence.contours,
        "curves_second": evidence.second,
        "peaks": evidence.peaks,
        "pixels": evidence.pixels,
        "boxes": found.boxes,
    }
    truths = ground_truth_table([t.sample for t in found.truths], [t.size for t in found.truths])
    kept = {name: array for name, array in arrays.items() if array is not None}
    return Evaluation(tables, write_run(folder, run, vars(tables), truths, kept, pictures))


def _notes(found: LocalizationResults) -> list[str]:
    """Return what deserves a second look, one sentence each."""
    notes = []
    lacking = sum(truth.sample.mask is None for truth in found.truths)
    if 0 < lacking < len(found.truths):
        notes.append(f"{lacking} of {len(found.truths)} images have no mask: PxAP and the like are left out")
    if not found.stats.complete:
        notes.append("some images have no box of their own class: GT-known accuracy and the like are left out")
    return notes
