"""The public function for what was made elsewhere, or before: from maps or boxes to tables and a run folder."""

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from wsol.datasets import SPLITS, Dataset, Split, check_dataset, load_dataset
from wsol.datasets.base import Corners
from wsol.errors import InputError
from wsol.evaluation.finish import Evaluation, Provenance, finish_run, run_signature
from wsol.evaluation.sources.baseline import from_baseline
from wsol.evaluation.sources.boxes import from_boxes
from wsol.evaluation.sources.maps import from_maps
from wsol.evaluation.sources.run import from_run
from wsol.evaluation.tables import FIXED, Tau, check_tau, choose_tau_index
from wsol.io import lock
from wsol.protocols import find_protocol
from wsol.reports.page import write_page
from wsol.runs.read import read_run
from wsol.runs.results import LocalizationResults
from wsol.runs.store import claim_folder
from wsol.runs.thumbnails import copy_thumbnails, make_thumbnails
from wsol.runtime.cost import Clock
from wsol.runtime.threads import processor_count


def score(
    *,
    run: str | Path | None = None,
    maps: str | Path | None = None,
    boxes: str | Path | None = None,
    baseline: str | None = None,
    dataset: str | Dataset | None = None,
    metadata: str | Path | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    split: Split | None = None,
    protocol: str = "wsolevaluation",
    tau: Tau = FIXED,
    val_maps: str | Path | None = None,
    raw: bool = False,
    corners: Corners | None = None,
    skip_bad: bool = False,
    limit: int | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
) -> Evaluation:
    """Score the maps of a run, maps or boxes from elsewhere, or a baseline; no network runs.

    Exactly one of ``run``, ``maps``, ``boxes`` and ``baseline`` is given.

    Args:
        run: Folder that ``evaluate`` wrote. It needs no data set, except for masks.
        maps: Folder of ``<image_id>.npy``, or an ``.npz`` file, see ``wsol.evaluation.sources.maps``.
        boxes: CSV file, or COCO's results as JSON, see ``wsol.evaluation.sources.boxes``.
        baseline: Registered name.
        dataset: Registered name, or a loaded data set.
        metadata: Folder of lists in the format of Choe et al.: short for the data set ``metadata`` with this root.
        data_root: Folder of the data set; ``datasets/<name>`` if None.
        dataset_args: The adapter's own arguments.
        split: ``test`` or ``val``; None for ``test``, or for the split that the metadata folder is named after. A run
            has its own.
        protocol: The conventions: a registered name, or one with changes such as ``wsolevaluation:step=0.01``.
        tau: As in ``evaluate``, and without effect on boxes. ``val`` takes the run's own validation split,
            ``val_maps``, or the baseline on it.
        val_maps: Maps of the split ``val``, where tau is chosen on it.
        raw: Maps are a network's own, of any size and range, to be upsampled and normalised by the protocol.
        corners: What the numbers of a CSV file mean; None for what those of the data set mean.
        skip_bad: Count and name what cannot be used and leave these images out, instead of stopping.
        limit: At most this many images, evenly spaced; not for a run.
        workers: Threads; one a processor if None.
        out: Run folder to write; nothing stays on disk if None.

    Returns:
        Tables and facts of the run.

    Raises:
        InputError: Something handed in cannot be used.
    """
    given = [name for name, what in (("run", run), ("maps", maps), ("boxes", boxes), ("baseline", baseline)) if what]
    if len(given) != 1:
        raise InputError(f"give exactly one of run, maps, boxes and baseline, not {' and '.join(given) or 'none'}")
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    if run and (limit is not None or split is not None):
        raise InputError("a run is scored as a whole, in the split that it has; leave out limit and split")
    if run and out is not None and Path(out).resolve() in (Path(run).resolve(), (Path(run) / "val").resolve()):
        raise InputError(f"{out} is the run itself; give another --out")
    if (raw and not maps) or (val_maps and tau != "val") or (corners and not boxes):
        raise InputError("raw goes with maps, val_maps with tau val, corners with boxes; leave out what has no effect")
    conventions = find_protocol(protocol)
    tau = FIXED if boxes else check_tau(tau, conventions)  # boxes know no tau

    def load(part: Split | None) -> Dataset:
        return _images(dataset, metadata, data_root, dataset_args, part)

    def collected(
        part: Dataset | None, pool: Executor, clock: Clock, level: int | None, val: bool = False
    ) -> tuple[Provenance, LocalizationResults]:
        known = load if dataset is not None or metadata is not None else None
        if run:
            folder = Path(run) / "val" if val else Path(run)
            return from_run(folder, conventions, pool, clock, known, level)
        assert part is not None
        some = part if limit is None else part.limit(limit)
        if baseline:
            return from_baseline(baseline, some, conventions, pool, clock)
        if boxes:
            return from_boxes(Path(boxes), some, part, conventions, corners, skip_bad, pool, clock)
        source = val_maps if val else maps
        assert source is not None
        return from_maps(Path(source), some, part, conventions, raw, skip_bad, pool, clock, level)

    images = None if run else load(split)
    held = _held_out(run, images, load, bool(maps and not val_maps)) if tau == "val" else None
    clock = Clock()
    with (
        ThreadPoolExecutor(workers or processor_count()) as pool,
        tempfile.TemporaryDirectory() if out is None else contextlib.nullcontext(out) as folder,
        contextlib.ExitStack() as stack,
    ):
        elsewhere, chosen_on = collected(held, pool, clock, None, val=True) if tau == "val" else (None, None)
        level = None if tau == "oracle" or boxes else choose_tau_index(conventions, tau, chosen_on)
        origin, found = collected(images, pool, clock, level)
        label = chosen_on.images.signature if chosen_on else None
        if elsewhere and elsewhere.model != origin.model:
            label = f"{label},{elsewhere.model}"
        request = run_signature(origin, conventions, found.images, tau, label)
        claim_folder(Path(folder), request)
        stack.enter_context(lock.lock_folder(Path(folder)))
        if elsewhere and chosen_on:
            asked, held_in = (
                run_signature(elsewhere, conventions, chosen_on.images, "oracle", None),
                Path(folder) / "val",
            )
            claim_folder(held_in, asked)
            stack.enter_context(lock.lock_folder(held_in))
            finish_run(elsewhere, conventions, chosen_on, "oracle", None, None, asked, pool, Clock(), held_in)
        evaluation = finish_run(origin, conventions, found, tau, chosen_on, label, request, pool, clock, Path(folder))
        if out is not None:
            if run:
                copy_thumbnails(Path(run), Path(out))
            else:
                make_thumbnails(found.images.samples, Path(out), pool)
            write_page(read_run(out))
    return evaluation


def _held_out(
    run: str | Path | None, images: Dataset | None, load: Callable[[Split | None], Dataset], no_maps: bool
) -> Dataset | None:
    """Return the images that tau is chosen on; None for a run, which holds its own."""
    missing = "tau val needs a validation split beside the evaluated one"
    if run is not None or images is None:
        if not (Path(run or "") / "val").is_dir():
            raise InputError(f"{missing}: {run} holds no val; evaluate with tau val, or give a number")
        return None
    if no_maps:
        raise InputError(f"{missing}: give val_maps, the maps of the split val")
    held = load("val") if images.split != "val" else images
    if held.split != "val" or held.fingerprint == images.fingerprint:
        raise InputError(f"{missing}, and {held.signature} is not that; give a number or oracle")
    return held


def _images(
    dataset: str | Dataset | None,
    metadata: str | Path | None,
    data_root: str | Path | None,
    dataset_args: Mapping[str, str] | None,
    split: Split | None,
) -> Dataset:
    """Load the data set that was named."""
    if (dataset is None) == (metadata is None):
        raise InputError("give the images: either dataset or metadata")
    if isinstance(dataset, Dataset):
        check_dataset(dataset)
        return dataset
    if metadata is not None:
        named = Path(metadata).name
        own: Split = next((part for part in SPLITS if part == named), "test")
        loaded = load_dataset("metadata", metadata, split or own, dataset_args)
    else:
        assert isinstance(dataset, str)
        loaded = load_dataset(dataset, data_root, split or "test", dataset_args)
    if loaded.split == "train":
        raise InputError(f"{loaded.name}: the split train has image labels only; score on test or val")
    return loaded
