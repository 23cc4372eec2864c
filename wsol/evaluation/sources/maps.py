"""External score maps: files, or Python objects; of the ground-truth class, or of several classes."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.evaluation.sources._faults import Faults
from wsol.evaluation.sources._map_files import Reader, find_readers
from wsol.evaluation.sources._map_objects import object_readers
from wsol.evaluation.sources._map_scorer import MapScorer
from wsol.evaluation.sources._scoring import by_image, gather_results, ground_truths_of, score_all
from wsol.evaluation.sources.predicted_classes import (
    NO_CLASSES,
    TOP,
    PredictedClasses,
    arrange_boxes,
    arrange_classes,
)
from wsol.metrics.classification import has_top5, ranks_of
from wsol.protocols import Protocol
from wsol.runs.provenance import ExternalFile, Provenance, file_signature
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock
from wsol.runtime.threads import map_ordered

Maps = Path | Mapping[str, Any] | Iterable[Any]
"""A folder or file, see ``find_readers``; or Python objects, see ``object_readers``."""

_OBJECTS = Path("maps")  # name of Python objects


def score_maps(
    maps: Maps,
    every: Dataset,
    dataset: Dataset,
    protocol: Protocol,
    raw: bool,
    skip_bad: bool,
    pool: Executor,
    clock: Clock,
    tau_index: int | None = None,
    predicted: PredictedClasses | None = None,
    attribution: bool = False,
) -> tuple[Provenance, LocalizationResults]:
    """Score the map of each image's ground-truth class; with predicted classes, also top-1 and top-5 errors.

    The predicted classes are those of a file, or the classes of the maps in their order. The box of one without a map
    is unknown; of the ground-truth class it is needed if that is predicted. The signature has a SHA-256 over the
    contents of all maps in the order of the images, which does not depend on how they are stored.

    Args:
        maps: The maps, by the images' ids with or without the suffix.
        every: The images; their files are not opened if the data set knows their sizes.
        dataset: The data set that they are part of: a map of any of its images is not an extra one.
        protocol: The protocol.
        raw: Whether maps are a network's own output, of any size and range, for the protocol to upsample and normalize;
            otherwise they are as the protocol's authors hand them in.
        skip_bad: Whether images without a usable map are left out.
        pool: Threads that read maps.
        clock: Gets the seconds.
        tau_index: Index of the threshold of the predictions, if it is known; otherwise maps are read again for that.
        predicted: Predicted classes that another classifier made.
        attribution: Whether metrics of attributions are computed.

    Raises:
        InputError: Maps are missing, extra or unusable, and ``skip_bad`` is false; or some images have classes and
            others do not.
    """
    images = every.localizable()
    truths, clipped = ground_truths_of(protocol, images)
    path = maps if isinstance(maps, Path) else _OBJECTS
    faults = Faults(str(path))
    readers = _match_readers(
        find_readers(maps) if isinstance(maps, Path) else object_readers(maps, every), images, dataset, faults
    )
    faults.raise_or_report(skip_bad)
    scorer = MapScorer(protocol, dataset, truths, readers, raw, faults, tau_index, predicted, attribution)
    accumulator, kept = score_all(protocol, images, by_image(scorer.image_stats), pool, clock)
    notes = [*(predicted.notes if predicted else ()), *faults.raise_or_report(skip_bad), *scorer.list_notes(kept)]
    skipped = {**(predicted.skipped if predicted else {}), **faults.reasons}
    constant = [images.samples[i].image_id for i in kept if scorer.constant.get(i) is False]
    classes, scores = _arrange(images, kept, scorer, predicted, path)

    def boxes_at(at: int) -> NDArray[np.float64]:
        known = at == tau_index
        found = map(scorer.boxes.__getitem__, kept) if known else map_ordered(pool, partial(scorer.boxes_at, at), kept)
        return protocol.share_box(arrange_boxes(classes, [*found]), classes)

    results = gather_results(protocol, images, truths, accumulator, kept, boxes_at, skipped, clipped, notes, constant)
    stats = results.stats
    if classes.shape[1] > 1:
        only = predicted.class_only_ranks if predicted else None
        top5 = has_top5(classes, len(dataset.classes))
        stats = replace(stats, ranks=ranks_of(classes), class_only_ranks=only, top5=top5)
    if lacking := scorer.without_own.intersection(kept):
        stats = replace(stats, pixels=None)
        if not all(images.samples[i].empty for i in lacking):  # metrics of boxes do not count those
            stats = replace(stats, complete=False, peaks=None, attribution=None)
    external = ExternalFile(path.name, hashlib.sha256(b"".join(scorer.digests)).hexdigest())
    provenance = Provenance(file_signature(path, external.sha256), "raw-maps" if raw else "maps", external=external)
    heat_maps = scorer.heat_maps.array[kept]
    return (
        predicted.add_to(provenance) if predicted else provenance,
        replace(results, classes=classes, scores=scores, stats=stats, heat_maps=heat_maps),
    )


def _arrange(
    images: Dataset, kept: list[int], scorer: MapScorer, predicted: PredictedClasses | None, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return classes and scores ``(n, k)`` of the images that have statistics.

    Raises:
        InputError: Without a file of predictions, some images have classes and others do not.
    """
    samples, rankings = images.samples, scorer.rankings
    if not predicted and 0 < len(rankings) < len(kept):
        named, unnamed = (next(samples[i].image_id for i in kept if (i in rankings) is has) for has in (True, False))
        raise InputError(
            f"{path}: {named} has maps with classes, but {unnamed} has a map without one; give classes for all images, "
            "for none, or a file of predictions"
        )
    depth = predicted.depth if predicted else max((len(each.classes) for each in rankings.values()), default=0)
    rows = [arrange_classes(samples[i].label, rankings.get(i, NO_CLASSES), min(depth, TOP)) for i in kept]
    width = 1 + min(depth, TOP)
    return (
        np.array([classes for classes, _ in rows], np.int64).reshape(-1, width),
        np.array([scores for _, scores in rows], np.float32).reshape(-1, width),
    )


def _match_readers(
    arrays: Mapping[str, list[Reader]], images: Dataset, dataset: Dataset, faults: Faults
) -> dict[str, Reader]:
    """Return the reader of every image's maps; note what is missing, extra, or shared by several images."""
    claims: defaultdict[str, list[str]] = defaultdict(list)
    readers, used = {}, set()
    needed = {sample.image_id for sample in images}
    for sample in dataset:
        names = dict.fromkeys((sample.image_id, str(PurePosixPath(sample.image_id).with_suffix(""))))
        present = [name for name in names if name in arrays]
        used.update(present)
        if sample.image_id not in needed:
            continue
        for name in present:
            claims[name].append(sample.image_id)
        if not present:
            faults.add("missing", sample.image_id, image_id=sample.image_id)
        elif sum(len(arrays[name]) for name in present) > 1:
            faults.add("duplicate", sample.image_id, image_id=sample.image_id)
        else:
            readers[sample.image_id] = arrays[present[0]][0]
    for name, claimants in claims.items():
        if len(claimants) > 1:
            for image_id in claimants:
                readers.pop(image_id, None)
                faults.add("ambiguous", image_id, f"{len(claimants)} images share the map {name}", image_id)
    for name in sorted(arrays.keys() - used):
        faults.add("extra", name)
    return readers
