"""The public function for what was made elsewhere, or before: from maps or boxes to tables and a run folder."""

import contextlib
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from wsol._clock import Clock
from wsol._machine import processors
from wsol.collected import Collected
from wsol.datasets import SPLITS, Dataset, Split, check, load_dataset
from wsol.datasets.base import Corners
from wsol.errors import InputError
from wsol.evaluation import Evaluation, Origin, conclude, signature
from wsol.protocols import find_protocol
from wsol.runs.folder import claim
from wsol.sources.baseline import from_baseline
from wsol.sources.boxes import from_boxes
from wsol.sources.maps import from_maps
from wsol.sources.run import from_run
from wsol.tables import FIXED, Tau, checked_tau, chosen_level


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
    """Scores the maps of a run, maps or boxes from elsewhere, or a baseline; no network runs.

    Exactly one of ``run``, ``maps``, ``boxes`` and ``baseline`` is given.

    Args:
        run: Folder that ``evaluate`` wrote. It needs no data set, except for masks.
        maps: Folder of ``<image_id>.npy``, or an ``.npz`` file, see ``wsol.sources.maps``.
        boxes: CSV file, or COCO's results as JSON, see ``wsol.sources.boxes``.
        baseline: Registered name.
        dataset: Registered name, or a loaded data set.
        metadata: Folder of lists in the format of Choe et al.: short for the data set ``metadata`` with this root.
        data_root: Folder of the data set; ``datasets/<name>`` if None.
        dataset_args: The adapter's own arguments.
        split: ``test`` or ``val``; None for ``test``, or for the split that the metadata folder is named after.
        protocol: The conventions: a registered name, or one with changes such as ``wsolevaluation:step=0.01``.
        tau: As in ``evaluate``. ``val`` takes the run's own validation split, ``val_maps``, or the baseline on it.
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
    if run and limit is not None:
        raise InputError("a run is scored as a whole; leave out limit")
    conventions = find_protocol(protocol)
    tau = checked_tau(tau, conventions)

    def images(part: Split | None) -> Dataset:
        loaded = _images(dataset, metadata, data_root, dataset_args, part)
        return loaded if limit is None else loaded.limit(limit)

    def collected(part: Split | None, pool: Executor, clock: Clock, level: int | None) -> tuple[Origin, Collected]:
        if run:
            known = images(part) if dataset or metadata else None
            return from_run(Path(run) / "val" if part == "val" else Path(run), conventions, pool, clock, known, level)
        if baseline:
            return from_baseline(baseline, images(part), conventions, pool, clock)
        if boxes:
            return from_boxes(Path(boxes), images(part), conventions, corners, skip_bad, pool, clock)
        folder = val_maps if part == "val" and tau == "val" else maps
        assert folder is not None
        return from_maps(Path(folder), images(part), conventions, raw, skip_bad, pool, clock, level)

    if tau == "val":
        _check_val(given[0], run, val_maps, split)
    clock = Clock()
    with (
        ThreadPoolExecutor(workers or processors()) as pool,
        tempfile.TemporaryDirectory() if out is None else contextlib.nullcontext(out) as folder,
    ):
        chosen_on = collected("val", pool, clock, None)[1] if tau == "val" else None
        level = None if tau == "oracle" else chosen_level(conventions, tau, chosen_on)
        origin, found = collected(split, pool, clock, level)
        held_out = chosen_on.images if chosen_on else None
        request = signature(origin, conventions, found.images, tau, held_out)
        claim(Path(folder), request)
        return conclude(origin, conventions, found, tau, chosen_on, request, pool, clock, Path(folder))


def _check_val(given: str, run: str | Path | None, val_maps: str | Path | None, split: Split | None) -> None:
    reasons = {
        "boxes": "boxes know no tau" if given == "boxes" else "",
        "maps": "" if val_maps else "give val_maps, the maps of the split val",
        "run": ""
        if run and (Path(run) / "val").is_dir()
        else f"{run} holds no val; evaluate with tau val, or give a number",
        "baseline": "",
    }
    reason = reasons[given] or ("the evaluated split is val itself; give a number or oracle" if split == "val" else "")
    if reason:
        raise InputError(f"tau val needs a validation split beside the evaluated one: {reason}")


def _images(
    dataset: str | Dataset | None,
    metadata: str | Path | None,
    data_root: str | Path | None,
    dataset_args: Mapping[str, str] | None,
    split: Split | None,
) -> Dataset:
    """Loads the data set that was named."""
    if (dataset is None) == (metadata is None):
        raise InputError("give the images: either dataset or metadata")
    if isinstance(dataset, Dataset):
        check(dataset)
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
