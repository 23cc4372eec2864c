"""From finished batches to a written run: merge, tabulate, write, split by split; then the page."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsol.baselines import BASELINES
from wsol.boxes.thresholds import are_constant
from wsol.datasets import Content
from wsol.errors import InputError
from wsol.evaluation.notes import list_notes
from wsol.evaluation.pseudo_choice import describe_choice, score_with_own_boxes
from wsol.evaluation.tables import choose_tau_index, tabulate, tabulate_baseline, tabulate_predictions
from wsol.io.arrays import memory_map
from wsol.metrics.bootstrap import draw_counts
from wsol.metrics.classification import ranks_of
from wsol.metrics.tau import fixed_tau, round_tau
from wsol.protocols.ground_truths import GroundTruths
from wsol.reports.gallery import draw_gallery
from wsol.reports.page import encode_run, write_page
from wsol.runs.array_writer import ArrayWriter
from wsol.runs.arrays import ARRAYS
from wsol.runs.batches import BatchStore
from wsol.runs.metadata import Cost, DatasetRecord, RunMetadata, TauRecord, ValidationRecord, package_versions
from wsol.runs.read import StoredRun, reopen_run
from wsol.runs.results import LocalizationResults, boxes_from_maps, only_predictions
from wsol.runs.score_maps import ScoreMapReader, ScoreMapWriter
from wsol.runs.signature import RunRequest
from wsol.runs.store import write_run
from wsol.runtime.cost import Clock, MemoryMeter
from wsol.runtime.threads import map_ordered, processor_count
from wsol.runtime.workers import start_workers

if TYPE_CHECKING:  # scores of existing maps and boxes need no torch
    from wsol.evaluation.plan import Plan, SplitPlan


def merge_and_finish(
    plan: "Plan",
    split: "SplitPlan",
    folder: Path,
    chosen_on: LocalizationResults | None,
    memory: MemoryMeter,
    pool: Executor,
    page: bool,
    bootstrap: int,
) -> StoredRun:
    """Merge the batches of a split, compute its tables and write its files.

    Args:
        plan: The run.
        split: The split; all its batches are finished.
        folder: The run folder.
        chosen_on: The results on the validation split, if tau is chosen on it.
        memory: Measures the peak memory.
        pool: Threads for all of it.
        page: Whether the page is written too.
        bootstrap: Number of resamples; 0 for no intervals.

    Returns:
        The run in the folder of the split.

    Raises:
        InputError: No image could be read.
    """
    clock = Clock()
    results, maps, passes = _merge_batches(plan, split, folder, pool, clock)
    n = len(results.images)
    milliseconds = 1000 * sum(clock.seconds.values()) / n
    cost = Cost(round(milliseconds, 3), round(passes / n, 3), memory.peak_mib())
    used = replace(split.request, held_out=chosen_on.images.signature) if chosen_on else split.request
    place = folder / split.subfolder
    requested = split.request.signature()
    own_tau_index = None
    if chosen_on and plan.own_boxes:
        protocol = plan.inference.protocol
        own = score_with_own_boxes(folder / "val", plan.own_boxes, protocol, pool)
        own_tau_index = choose_tau_index(protocol, "val", own)
    more = (bootstrap, maps, cost, page, own_tau_index)
    return finish_split(used, results, chosen_on, place, pool, clock, requested, *more)


def finish_split(
    request: RunRequest,
    results: LocalizationResults,
    chosen_on: LocalizationResults | None,
    folder: Path,
    pool: Executor,
    clock: Clock,
    requested: str,
    bootstrap: int,
    maps: ScoreMapReader | None = None,
    cost: Cost | None = None,
    page: bool = False,
    own_tau_index: int | None = None,
) -> StoredRun:
    """Compute the tables of a split, write its folder, and return the run in it.

    Args:
        request: What decides its numbers, with the validation images that could be read.
        results: Its results.
        chosen_on: The results on the validation split, if tau was chosen on it.
        folder: A claimed folder.
        pool: Threads for tables and pictures.
        clock: Has the seconds of the stages before.
        requested: Signature that was known before the run.
        bootstrap: Number of resamples; 0 for no intervals.
        maps: Raw score maps to show in the gallery, if there are any.
        cost: Cost of the network and the method, if one ran.
        page: Whether the page is written too; its thumbnails are there.
        own_tau_index: Index of the tau that the data set's own boxes choose, if it was chosen with pseudo boxes.

    Raises:
        InputError: No image shows an object.
    """
    protocol = request.protocol
    if not results.truths.counts.any():
        raise InputError(f"none of the {len(results.images)} images shows an object; evaluate some that do")
    with clock("metrics"):
        tau_index = choose_tau_index(protocol, request.tau, chosen_on or results) if request.uses_threshold else 0
        predictions = tabulate_predictions(protocol, results, tau_index)
    if chosen_on is not None and own_tau_index is not None and request.uses_threshold:
        sentences = describe_choice(protocol, results, chosen_on.images, tau_index, own_tau_index)
        results = replace(results, notes=(*results.notes, *sentences))
    chosen = round_tau(protocol.taus, tau_index) if request.uses_threshold else None
    signature = request.signature(results.images, chosen)
    draft = _describe_run(request, results, chosen_on, chosen, signature, requested, clock, cost)
    if bootstrap:
        draw_counts(len(results.stats), 0)  # the processes share them

    def work(task: str) -> Any:
        if task == _GALLERY:
            assert maps is not None
            return draw_gallery(results, protocol, maps, predictions, signature)
        if task == _PAGE:
            return encode_run(StoredRun(folder, draft, protocol, only_predictions(predictions), results, None))
        return tabulate_baseline(task, protocol, results, request.tau, chosen_on, bootstrap)

    # The interpreter lock would hold up threads; for few images they start faster.
    many = len(results.images) >= _MIN_FOR_PROCESSES
    tasks = [*[_GALLERY] * (maps is not None), *BASELINES.names(), *[_PAGE] * page]
    with start_workers(work, min(_WORKERS, processor_count()), processes=many) as submit:
        with clock("pictures"):
            futures = {task: submit(task) for task in tasks}
        with clock("metrics"):
            baselines = {name: futures[name] for name in BASELINES.names()}
            tables = tabulate(protocol, results, request.tau, predictions, chosen_on, pool, baselines, bootstrap)
        metadata = replace(draft, seconds=_round_seconds(clock))
        pictures = {name: future for name, future in futures.items() if name == _GALLERY}
        complete = write_run(folder, metadata, tables, results, pictures)
        run = reopen_run(folder, complete, protocol, predictions, results)
        if page:
            write_page(run, futures[_PAGE].result)
    return run


_GALLERY, _PAGE = "gallery.png", "report.html"
_WORKERS = 3  # the gallery, the baselines and the page's data
_MIN_FOR_PROCESSES = 2000  # images


def _merge_batches(
    plan: "Plan", split: "SplitPlan", folder: Path, pool: Executor, clock: Clock
) -> tuple[LocalizationResults, ScoreMapReader, int]:
    """Merge the batches of a split in the order of the images; write ``maps.npy`` and ``thumbnails``.

    Returns:
        The results, the raw score maps, and the number of forward passes.
    """
    protocol, images, place = plan.inference.protocol, split.images, folder / split.subfolder
    store = BatchStore(folder, split.name, split.batches)
    rows: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)
    class_only_ranks: list[int] = []
    skipped: dict[str, str] = {}
    n = clipped = passes = 0
    with (
        clock("files"),
        ScoreMapWriter(place / "maps.npy") as maps,
        _StatsWriter(place) as stats,
    ):
        for batch in map_ordered(pool, store.read, range(store.count), _READ_AHEAD):
            skipped |= {images.samples[index].image_id: reason for index, reason in batch.facts["skipped"]}
            clipped += batch.facts["clipped"]
            passes += batch.facts["passes"]
            class_only_ranks += batch.facts["class_only_ranks"]
            clock.add(batch.facts["seconds"])
            if not batch.arrays:
                continue
            n += len(batch.arrays["indices"])
            stats.append(batch.arrays)
            maps.append(batch.arrays["maps"])
            for name in _SMALL & batch.arrays.keys():
                rows[name].append(batch.arrays[name])
            rows["counts"].append(np.diff(batch.arrays["truth_ends"], prepend=0))
            rows["constant"].append(are_constant(batch.arrays["maps"][:, 0]))
        if not n:
            reason = next(iter(skipped.values()), "only classification counts them")
            raise InputError(f"none of the {len(images)} images can be localized: {reason}")
    arrays = {name: np.concatenate(parts) for name, parts in rows.items()}
    kept = arrays["indices"].tolist()
    with clock("files"):
        store.take_thumbnails(place, kept)
    images = images if len(kept) == len(images) else images.subset(kept)
    truths = GroundTruths(images.samples, arrays["frames"].astype(np.int64), arrays["truths"], arrays["counts"])
    classes, reader = arrays["classes"], maps.reader()
    boxes_at = boxes_from_maps(protocol, protocol.view, reader, classes, truths, pool)
    results = LocalizationResults(
        images,
        truths,
        classes,
        arrays["scores"],
        protocol.make_stats(
            labels=classes[:, 0],
            ranks=ranks_of(classes),
            class_only_ranks=np.array(class_only_ranks) if class_only_ranks else None,
            objects=truths.objects,
            **stats.read(),
        ),
        (lambda _: arrays["predicted"]) if "predicted" in arrays else boxes_at,
        skipped,
        clipped,
        stats.read_boxes(),
        split.notes,
        tuple(images.samples[i].image_id for i in np.flatnonzero(arrays["constant"])),
    )
    return results, reader, passes


_READ_AHEAD = 4  # batches
_SMALL = {"indices", "frames", "truths", "classes", "scores", "predicted"}
"""Arrays of the batches that are held in memory."""


class _StatsWriter:
    """Writes the statistics of the images of a split to the files of its run; a context, as ``ArrayWriter``.

    Args:
        folder: Folder of the split.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, contextlib.ExitStack()
        self._writers: dict[str, ArrayWriter] = {}
        self._count = 0

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append the arrays of a batch that are statistics; one that any batch lacks is dropped for all."""
        stats = {name[6:]: array for name, array in arrays.items() if name.startswith("stats.")}
        if not self._count:
            files = {array.name: array.file for array in ARRAYS if array.name in stats}
            writers = {name: ArrayWriter(self._folder / file) for name, file in files.items()}
            self._writers = {name: self._stack.enter_context(writer) for name, writer in writers.items()}
        self._count += 1
        for name in self._writers.keys() - stats.keys():
            self._writers.pop(name).discard()
        for name, writer in self._writers.items():
            writer.append(stats[name])

    def read(self) -> dict[str, NDArray[Any]]:
        """Map what was written into memory, after the context is left."""
        return {name: memory_map(writer.path) for name, writer in self._writers.items() if name != "boxes"}

    def read_boxes(self) -> NDArray[np.uint16] | None:
        """Map the boxes into memory, if there are any."""
        return memory_map(self._writers["boxes"].path) if "boxes" in self._writers else None

    def __enter__(self) -> "_StatsWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


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
        notes=tuple(dict.fromkeys((*results.notes, *results.images.notes, *list_notes(results, request.protocol)))),
        versions=package_versions(),
        seconds=_round_seconds(clock),
        cost=cost,
    )


def _round_seconds(clock: Clock) -> dict[str, float]:
    return {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()}
