"""``wsol.score``: from existing score maps or boxes to tables and a run folder; no network runs."""

import contextlib
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from wsol.datasets import Dataset, Split, has_pseudo_boxes, with_pseudo_boxes
from wsol.datasets.base import Corners
from wsol.errors import InputError
from wsol.evaluation.finish import finish_split
from wsol.evaluation.protocol_choice import choose_protocol, find_open_protocol
from wsol.evaluation.scored_source import NamedImages, Source
from wsol.evaluation.tables import choose_tau_index
from wsol.io.lock import lock_folder
from wsol.metrics.resamples import RESAMPLES, check_bootstrap
from wsol.metrics.tau import DEFAULT_TAU, Tau, check_tau
from wsol.protocols import Protocol
from wsol.reports.page import write_page
from wsol.runs.read import Evaluation, StoredRun
from wsol.runs.results import LocalizationResults
from wsol.runs.signature import RunRequest
from wsol.runs.store import claim_folder
from wsol.runs.thumbnails import copy_thumbnails, make_thumbnails
from wsol.runtime.cost import Clock
from wsol.runtime.threads import processor_count

T = TypeVar("T")


def score(
    *,
    run: str | Path | None = None,
    maps: str | Path | Mapping[str, Any] | Iterable[Any] | None = None,
    boxes: str | Path | None = None,
    baseline: str | None = None,
    dataset: str | Dataset | None = None,
    metadata: str | Path | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    split: Split | None = None,
    exact_images: bool = False,
    protocol: str = "wsolevaluation",
    tau: Tau = DEFAULT_TAU,
    val_maps: str | Path | Mapping[str, Any] | Iterable[Any] | None = None,
    predictions: str | Path | pd.DataFrame | None = None,
    val_predictions: str | Path | pd.DataFrame | None = None,
    raw: bool = False,
    corners: Corners | None = None,
    skip_bad: bool = False,
    limit: int | None = None,
    bootstrap: int = RESAMPLES,
    workers: int | None = None,
    out: str | Path | None = None,
    attribution: bool = False,
    val_boxes: str | Path | None = None,
) -> Evaluation:
    """Score the maps of a run, external maps or boxes, or a baseline.

    Exactly one of ``run``, ``maps``, ``boxes`` and ``baseline`` is given.

    Args:
        run: Folder that ``evaluate`` wrote. It needs no data set, except for masks.
        maps: Folder of ``<image_id>.npy`` or ``.npz``, or one ``.npz`` file; or arrays or tensors: a dictionary by
            image id, an array ``(n, h, w)`` or an iterable of maps in the order of the images, or an iterable of pairs
            ``(image_id, map)``. A map is ``(h, w)``, that of the ground-truth class; or maps and their classes,
            ``(k, h, w)`` and ``(k,)``: an ``.npz`` file with the arrays ``maps`` and ``classes``, or a tuple. Without
            ``predictions`` their order is the ranking of the classes.
        boxes: CSV file, or results in COCO's JSON format, see ``wsol.evaluation.sources.boxes``.
        baseline: Registered name.
        dataset: Registered name, or a loaded data set.
        metadata: Folder of lists in the format of Choe et al.: short for the data set ``metadata`` with this root.
        data_root: Folder of the data set; ``datasets/<name>`` if None.
        dataset_args: Arguments of the adapter.
        split: ``test`` or ``val``; None for ``test``, or for the split that the metadata folder is named after. A run
            has its own.
        exact_images: As in ``evaluate``; not for a run, which has its own fingerprint of the images.
        protocol: Registered name, or one with settings such as ``wsolevaluation:step=0.01``. For a run,
            ``percentile=val`` and ``percentile=oracle`` choose the percentile of ``norm=ivr`` from its maps.
        tau: As in ``evaluate``; without effect on boxes. ``val`` uses the run's own validation split, ``val_maps``, or
            the baseline on the validation split.
        val_maps: Maps of the split ``val``, where tau is chosen on it.
        predictions: Predicted classes of another classifier for maps or boxes: a CSV or Parquet file, or a table, with
            the columns ``image_id``, ``rank`` (from 1), ``class`` (index or name), and optionally ``score``.
        val_predictions: The same for ``val_maps``.
        raw: Maps are a network's own output, of any size and range, for the protocol to upsample and normalize.
        corners: Corner convention of a CSV file; None for that of the data set.
        skip_bad: Count and list unusable entries and leave their images out, instead of stopping.
        limit: Score at most this many images, evenly spaced; not for a run.
        bootstrap: As in ``evaluate``.
        workers: Threads; one per processor if None.
        out: Run folder to write; nothing stays on disk if None.
        attribution: As in ``evaluate``; not for boxes.
        val_boxes: As in ``evaluate``; also for the stored validation split of a run.

    Returns:
        Tables and metadata of the run.

    Raises:
        InputError: An argument cannot be used.
    """
    given = [
        name
        for name, value in (("run", run), ("maps", maps), ("boxes", boxes), ("baseline", baseline))
        if value is not None
    ]
    if len(given) != 1:
        raise InputError(f"give exactly one of run, maps, boxes and baseline, not {' and '.join(given) or 'none'}")
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    check_bootstrap(bootstrap)
    if run and (limit is not None or split is not None or exact_images):
        raise InputError("a run is scored as a whole, in its own split; leave out limit, split and exact_images")
    if run and out is not None and Path(out).resolve() in (Path(run).resolve(), (Path(run) / "val").resolve()):
        raise InputError(f"{out} is the run itself; give another --out")
    if (raw and maps is None) or (val_maps is not None and tau != "val") or (corners and not boxes):
        raise InputError("raw goes with maps, val_maps with tau val, corners with boxes; leave out what has no effect")
    if (predictions is not None and maps is None and not boxes) or (val_predictions is not None and val_maps is None):
        raise InputError("predictions go with maps or boxes, val_predictions with val_maps; leave out the others")
    if boxes and attribution:
        raise InputError("attribution needs score maps, of which boxes have none; leave it out")
    conventions = find_open_protocol(protocol, run is not None, tau)
    if maps is not None and (reason := conventions.unsupported_reason(raw)):
        raise InputError(reason)
    conventions = conventions if boxes else conventions.including(tau)
    tau = DEFAULT_TAU if boxes else check_tau(tau, conventions.taus)  # boxes have no threshold
    images = NamedImages(dataset, metadata, data_root, dataset_args, limit)
    source = Source(
        run=None if run is None else Path(run),
        maps=_as_path(maps),
        val_maps=_as_path(val_maps),
        boxes=None if boxes is None else Path(boxes),
        baseline=baseline,
        predictions=_as_path(predictions),
        val_predictions=_as_path(val_predictions),
        protocol=conventions,
        images=images,
        raw=raw,
        corners=corners,
        skip_bad=skip_bad,
        exact_images=exact_images,
        attribution=attribution,
        val_boxes=None if val_boxes is None else Path(val_boxes),
    )
    test = None if run else images.load(split)
    if val_boxes is not None and (tau != "val" or boxes):
        if test is None or test.split != "val":
            raise InputError(f"val_boxes replaces boxes of the split val, which tau {tau} ignores; give tau val")
        test = with_pseudo_boxes(test, val_boxes)
    val = _load_held_out(source, test) if tau == "val" else None
    with (
        ThreadPoolExecutor(workers or processor_count()) as pool,
        tempfile.TemporaryDirectory() if out is None else contextlib.nullcontext(out) as folder,
    ):
        if conventions.chosen_on:
            source = _choose_protocol(source, pool)
        finished = _score_splits(source, test, val, tau, Path(folder), out is not None, pool, bootstrap)
        return Evaluation(finished.tables, finished.metadata)


def _as_path(source: str | T) -> Path | T:
    return Path(source) if isinstance(source, str) else source


def _load_held_out(source: Source, images: Dataset | None) -> Dataset | None:
    """Return the images that tau is chosen on; None for a run, which has its own."""
    missing = "tau val needs a validation split in addition to the evaluated one"
    if source.run is not None or images is None:
        if not (source.run and (source.run / "val").is_dir()):
            raise InputError(f"{missing}: {source.run} has no val; evaluate with tau val, or give a number")
        return None
    if source.maps is not None and source.val_maps is None:
        raise InputError(f"{missing}: give val_maps, the maps of the split val")
    held_out = source.images.load("val") if images.split != "val" else images
    if held_out.split != "val" or held_out.fingerprint == images.fingerprint:
        raise InputError(f"{missing}, and {held_out.signature} is not one; give a number or oracle")
    return held_out


def _choose_protocol(source: Source, pool: Executor) -> Source:
    """Return the source with the protocol that its rule chose, on the validation split or on the evaluated images."""
    val = source.protocol.chosen_on == "val"

    def score_candidate(protocol: Protocol) -> LocalizationResults:
        pseudo = val and source.val_boxes is not None
        candidate = replace(source, protocol=protocol, attribution=False)  # the choice does not use them
        return candidate.score(None, None, pool, Clock(), val, pseudo)[1]

    return replace(source, protocol=choose_protocol(source.protocol, score_candidate))


def _score_splits(
    source: Source,
    test: Dataset | None,
    val: Dataset | None,
    tau: Tau,
    folder: Path,
    page: bool,
    pool: Executor,
    bootstrap: int,
) -> StoredRun:
    """Score the validation split, if tau is chosen on it, and the evaluated one; write the folders of both.

    Returns:
        The run on the evaluated split.
    """
    protocol, clock = source.protocol, Clock()
    chosen_on = held_out = val_request = own_tau_index = None
    if tau == "val":
        pseudo = source.val_boxes is not None
        annotated = with_pseudo_boxes(val, source.val_boxes) if val and source.val_boxes else val
        val_provenance, chosen_on = source.score(annotated, None, pool, clock, val=True, pseudo=pseudo)
        val_request = RunRequest(chosen_on.images, val_provenance, protocol, "oracle")
        held_out = chosen_on.images.signature
        if pseudo:
            _, own = source.score(val, None, pool, Clock(), val=True)
            own_tau_index = choose_tau_index(protocol, tau, own)
    known = tau != "oracle" and not source.boxes
    tau_index = choose_tau_index(protocol, tau, chosen_on) if known else None
    provenance, results = source.score(test, tau_index, pool, clock)
    if val_request and val_request.provenance.model != provenance.model:
        held_out = f"{held_out},{val_request.provenance.model}"
    has_pseudo = chosen_on is not None and has_pseudo_boxes(chosen_on.images)
    request = RunRequest(results.images, provenance, protocol, tau, held_out, has_pseudo)
    with contextlib.ExitStack() as stack:
        for each, place in ((request, folder), (val_request, folder / "val")):
            if each:
                claim_folder(place, each.signature())
                stack.enter_context(lock_folder(place))
        if val_request and chosen_on:
            place, requested = folder / "val", val_request.signature()
            finish_split(val_request, chosen_on, None, place, pool, Clock(), requested, bootstrap)
        finished = finish_split(
            request,
            results,
            chosen_on,
            folder,
            pool,
            clock,
            request.signature(),
            bootstrap,
            own_tau_index=own_tau_index,
        )
        if page:
            if source.run is not None:
                copy_thumbnails(source.run, folder)
            else:
                make_thumbnails(results.images.samples, folder, pool)
            write_page(finished)
    return finished
