"""From finished batches to a written run: merge, tabulate, write, split by split; then the page."""

from collections import deque
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import are_constant
from wsol.datasets import Content
from wsol.errors import InputError
from wsol.evaluation.tables import choose_tau_index, tabulate
from wsol.io.display import list_first
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import StatsAccumulator
from wsol.metrics.tau import fixed_tau, round_tau
from wsol.protocols.base import GroundTruth, ground_truth_of
from wsol.reports.gallery import draw_gallery
from wsol.reports.page import write_page
from wsol.runs.batches import BatchStore, StoredBatch, discard
from wsol.runs.metadata import Cost, DatasetRecord, RunMetadata, TauRecord, ValidationRecord, package_versions
from wsol.runs.read import read_run
from wsol.runs.results import LocalizationResults, boxes_from_maps
from wsol.runs.score_maps import ScoreMapReader, ScoreMapWriter
from wsol.runs.signature import RunRequest
from wsol.runs.store import write_run
from wsol.runs.thumbnails import ThumbnailWriter
from wsol.runtime.cost import Clock, MemoryMeter

if TYPE_CHECKING:  # scores of existing maps and boxes need no torch
    from wsol.evaluation.plan import Plan, SplitPlan


def merge_and_finish(plan: "Plan", folder: Path, page: bool, memory: MemoryMeter, pool: Executor) -> None:
    """Merge the batches of each split, compute its tables and write its files; then the page.

    Args:
        plan: The run; all its batches are finished.
        folder: The run folder.
        page: Whether the page is written.
        memory: Measures the peak memory.
        pool: Threads for all of it.

    Raises:
        InputError: No image could be read.
    """
    _finish_splits(plan, folder, memory, pool)
    if page:  # the results are freed, so that the page does not add to them
        write_page(read_run(folder))
    discard(folder)


def _finish_splits(plan: "Plan", folder: Path, memory: MemoryMeter, pool: Executor) -> None:
    chosen_on = None
    for split in plan.splits:
        clock, place = Clock(), folder / split.subfolder
        results, maps, passes = _merge_batches(plan, split, folder, pool, clock)
        n = len(results.images)
        milliseconds = 1000 * sum(clock.seconds.values()) / n
        cost = Cost(round(milliseconds, 3), round(passes / n, 3), memory.peak_mib())
        used = replace(split.request, held_out=chosen_on.images.signature) if chosen_on else split.request
        finish_split(used, results, chosen_on, place, pool, clock, split.request.signature(), maps, cost)
        chosen_on = results


def finish_split(
    request: RunRequest,
    results: LocalizationResults,
    chosen_on: LocalizationResults | None,
    folder: Path,
    pool: Executor,
    clock: Clock,
    requested: str,
    maps: ScoreMapReader | None = None,
    cost: Cost | None = None,
) -> None:
    """Compute the tables of a split and write its folder.

    Args:
        request: What decides its numbers, with the validation images that could be read.
        results: Its results.
        chosen_on: The results on the validation split, if tau was chosen on it.
        folder: A claimed folder.
        pool: Threads for tables and pictures.
        clock: Has the seconds of the stages before.
        requested: Signature that was known before the run.
        maps: Raw score maps to show in the gallery, if there are any.
        cost: Cost of the network and the method, if one ran.
    """
    protocol = request.protocol
    with clock("metrics"):
        tau_index = choose_tau_index(protocol, request.tau, chosen_on or results) if request.uses_threshold else 0
        tables = tabulate(protocol, results, request.tau, tau_index, chosen_on, pool)
    chosen = round_tau(protocol.taus, tau_index) if request.uses_threshold else None
    signature = request.signature(results.images, chosen)
    with clock("pictures"):
        pictures = {}
        if maps is not None:
            gallery = draw_gallery(results, protocol, maps, tables.predictions, signature, pool)
            pictures["gallery.png"] = gallery
    metadata = _describe_run(request, results, chosen_on, chosen, signature, requested, clock, cost)
    write_run(folder, metadata, tables, results, pictures)


def _merge_batches(
    plan: "Plan", split: "SplitPlan", folder: Path, pool: Executor, clock: Clock
) -> tuple[LocalizationResults, ScoreMapReader, int]:
    """Merge the batches of a split in the order of the images; write ``maps.npy`` and ``thumbnails``.

    Returns:
        The results, the raw score maps, and the number of forward passes.
    """
    protocol, images, place = plan.inference.protocol, split.images, folder / split.subfolder
    store = BatchStore(folder, split.name, split.batches)
    kept: list[int] = []
    truths: list[GroundTruth] = []
    classes: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    constant: list[NDArray[np.bool_]] = []
    class_only_ranks: list[int] = []
    accumulator = StatsAccumulator(len(images), max(1, len(protocol.taus)))
    skipped: dict[str, str] = {}
    clipped = passes = 0
    with clock("files"), ScoreMapWriter(place / "maps.npy") as maps, ThumbnailWriter(place) as thumbnails:
        for number in range(store.count):
            batch = store.read(number)
            skipped |= {images.samples[index].image_id: reason for index, reason in batch.facts["skipped"]}
            clipped += batch.facts["clipped"]
            passes += batch.facts["passes"]
            class_only_ranks += batch.facts["class_only_ranks"]
            clock.add(batch.facts["seconds"])
            if not batch.arrays:
                continue
            contents = _split_thumbnails(batch)
            written = pool.map(thumbnails.write, range(len(kept), len(kept) + len(contents)), contents)
            rows = {name[6:]: array for name, array in batch.arrays.items() if name.startswith("stats.")}
            accumulator.add(rows)
            maps.append(batch.arrays["maps"])
            kept += (indices := batch.arrays["indices"].tolist())
            frames = [(int(width), int(height)) for width, height in batch.arrays["frames"]]
            truths += [
                ground_truth_of(protocol, images.samples[i], size) for i, size in zip(indices, frames, strict=True)
            ]
            classes.append(batch.arrays["classes"])
            scores.append(batch.arrays["scores"])
            constant.append(are_constant(batch.arrays["maps"][:, 0]))
            deque(written, 0)  # waits, and raises what a thread has raised
        if not kept:
            reason = next(iter(skipped.values()), "only classification counts them")
            raise InputError(f"none of the {len(images)} images can be localized: {reason}")
    all_classes, reader = np.concatenate(classes), maps.reader()
    stats = accumulator.stats(protocol.delta, all_classes[:, 0], ranks_of(all_classes), protocol.off_grid)
    results = LocalizationResults(
        images.subset(kept),
        truths,
        all_classes,
        np.concatenate(scores),
        replace(stats, class_only_ranks=np.array(class_only_ranks) if class_only_ranks else None),
        boxes_from_maps(protocol, protocol.view, reader, all_classes, truths),
        skipped,
        clipped,
        accumulator.boxes,
        split.notes,
        tuple(images.samples[kept[i]].image_id for i in np.flatnonzero(np.concatenate(constant))),
    )
    return results, reader, passes


def _split_thumbnails(batch: StoredBatch) -> list[bytes]:
    ends = batch.arrays["thumbnail_ends"].tolist()
    content = batch.arrays["thumbnails"].tobytes()
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _describe_run(
    request: RunRequest,
    results: LocalizationResults,
    chosen_on: LocalizationResults | None,
    chosen: float | None,
    signature: str,
    requested: str,
    clock: Clock,
    cost: Cost | None,
) -> RunMetadata:
    images, tau = results.images, request.tau
    rule = None if chosen is None else tau if isinstance(tau, str) else "fixed"
    return RunMetadata(
        signature=signature,
        request=requested,
        dataset=DatasetRecord(
            images.name,
            images.split,
            images.origin,
            len(images),
            images.fingerprint,
            images.content or Content(),
            tuple(images.classes),
        ),
        provenance=request.provenance,
        protocol=request.protocol.signature,
        tau=TauRecord(rule, chosen, fixed_tau(tau, request.protocol.taus)),
        skipped=results.skipped,
        clipped_boxes=results.clipped,
        val=ValidationRecord(chosen_on.skipped, chosen_on.clipped) if chosen_on else None,
        notes=tuple(dict.fromkeys((*results.notes, *results.images.notes, *_list_notes(results)))),
        versions=package_versions(),
        seconds={stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        cost=cost,
    )


def _list_notes(results: LocalizationResults) -> list[str]:
    """Return what deserves a second look, one sentence each."""
    notes = []
    if results.constant:
        notes.append(
            f"{len(results.constant)} of {len(results.truths)} score maps are constant and give no box: "
            f"{list_first(results.constant)}"
        )
    if (ranks := results.stats.class_only_ranks) is not None:
        notes.append(f"{len(ranks)} images that are excluded from localization count in the classification error only")
    without = sum(truth.sample.mask is None for truth in results.truths)
    if 0 < without < len(results.truths):
        notes.append(
            f"{without} of {len(results.truths)} images have no mask: PxAP and the other pixel metrics are left out"
        )
    if not results.stats.complete:
        notes.append("some images have no box of their own class: GT-known accuracy and related metrics are left out")
    return notes
