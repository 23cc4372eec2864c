"""``wsol.score``: from existing score maps or boxes to tables and a run folder; no network runs."""

import contextlib
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from wsol.datasets import (
    SPLITS,
    Dataset,
    Split,
    check_dataset,
    has_pseudo_boxes,
    load_dataset,
    with_content,
    with_pseudo_boxes,
)
from wsol.datasets.base import Corners
from wsol.errors import InputError
from wsol.evaluation.finish import finish_split
from wsol.evaluation.protocol_choice import choose_protocol, find_open_protocol
from wsol.evaluation.sources.baseline import score_baseline
from wsol.evaluation.sources.boxes import score_boxes
from wsol.evaluation.sources.maps import Maps, score_maps
from wsol.evaluation.sources.predicted_classes import PredictedClasses, read_predicted_classes
from wsol.evaluation.sources.run import score_run
from wsol.evaluation.tables import choose_tau_index
from wsol.io.lock import lock_folder
from wsol.metrics.resamples import RESAMPLES, check_bootstrap
from wsol.metrics.tau import DEFAULT_TAU, Tau, check_tau
from wsol.protocols import Protocol
from wsol.reports.page import write_page
from wsol.runs.provenance import Provenance
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
    images = _Images(dataset, metadata, data_root, dataset_args, limit)
    source = _Source(
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


@dataclass(frozen=True)
class _Images:
    """Loads splits of the data set that the caller named."""

    dataset: str | Dataset | None
    metadata: str | Path | None
    data_root: str | Path | None
    dataset_args: Mapping[str, str] | None
    limit: int | None

    @property
    def is_given(self) -> bool:
        return self.dataset is not None or self.metadata is not None

    def load(self, split: Split | None) -> Dataset:
        if (self.dataset is None) == (self.metadata is None):
            raise InputError("give the images: either dataset or metadata")
        if isinstance(self.dataset, Dataset):
            check_dataset(self.dataset)
            return self.dataset
        if self.metadata is not None:
            name = Path(self.metadata).name
            own: Split = next((each for each in SPLITS if each == name), "test")
            images = load_dataset("metadata", self.metadata, split or own, self.dataset_args)
        else:
            images = load_dataset(str(self.dataset), self.data_root, split or "test", self.dataset_args)
        if images.split == "train":
            raise InputError(f"{images.name}: the split train has image labels only; score on test or val")
        return images


@dataclass(frozen=True)
class _Source:
    """The source of boxes: exactly one of run, maps, boxes and baseline is set."""

    run: Path | None
    maps: Maps | None
    val_maps: Maps | None
    boxes: Path | None
    baseline: str | None
    predictions: Path | pd.DataFrame | None
    val_predictions: Path | pd.DataFrame | None
    protocol: Protocol
    images: _Images
    raw: bool
    corners: Corners | None
    skip_bad: bool
    exact_images: bool
    attribution: bool
    val_boxes: Path | None

    def score(
        self,
        dataset: Dataset | None,
        tau_index: int | None,
        pool: Executor,
        clock: Clock,
        val: bool = False,
        pseudo: bool = False,
    ) -> tuple[Provenance, LocalizationResults]:
        """Score one split; a run has its own ``dataset``, whose boxes are replaced by pseudo boxes if ``pseudo``."""
        if self.run is not None:
            load = self.images.load if self.images.is_given else None
            folder = self.run / "val" if val else self.run
            annotate = self._annotate if pseudo else None
            return score_run(folder, self.protocol, pool, clock, load, tau_index, self.attribution, annotate)
        assert dataset is not None
        images = dataset if self.images.limit is None else dataset.limit(self.images.limit)
        images = with_content(images, self.exact_images, self.protocol.uses_masks)
        if self.boxes is not None:
            predicted = self._read_predictions(self.predictions, images, dataset)
            more = (self.corners, self.skip_bad, pool, clock, predicted)
            return score_boxes(self.boxes, images, dataset, self.protocol, *more)
        if self.baseline is not None:
            return score_baseline(self.baseline, images.localizable(), self.protocol, pool, clock, self.attribution)
        maps = self.val_maps if val else self.maps
        assert maps is not None
        predicted = self._read_predictions(self.val_predictions if val else self.predictions, images, dataset)
        settings = (self.protocol, self.raw, self.skip_bad, pool, clock, tau_index, predicted, self.attribution)
        return score_maps(maps, images, dataset, *settings)

    def _annotate(self, images: Dataset) -> Dataset:
        assert self.val_boxes is not None
        if has_pseudo_boxes(images):
            raise InputError(f"{self.run} was evaluated with pseudo boxes; give a run with the data set's own boxes")
        return with_pseudo_boxes(images, self.val_boxes)

    def _read_predictions(
        self, source: Path | pd.DataFrame | None, images: Dataset, dataset: Dataset
    ) -> PredictedClasses | None:
        return None if source is None else read_predicted_classes(source, images, dataset, self.skip_bad)


def _load_held_out(source: _Source, images: Dataset | None) -> Dataset | None:
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


def _choose_protocol(source: _Source, pool: Executor) -> _Source:
    """Return the source with the protocol that its rule chose, on the validation split or on the evaluated images."""
    val = source.protocol.chosen_on == "val"

    def score_candidate(protocol: Protocol) -> LocalizationResults:
        pseudo = val and source.val_boxes is not None
        candidate = replace(source, protocol=protocol, attribution=False)  # the choice does not use them
        return candidate.score(None, None, pool, Clock(), val, pseudo)[1]

    return replace(source, protocol=choose_protocol(source.protocol, score_candidate))


def _score_splits(
    source: _Source,
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
