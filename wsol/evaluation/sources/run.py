"""A stored run as the source of score maps, scored again without network or images."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import are_constant
from wsol.datasets import Content, Dataset, Split, count_clipped, with_content
from wsol.errors import InputError
from wsol.evaluation.sources._scoring import Rows, score_all
from wsol.io.arrays import memory_map
from wsol.metrics.classification import ranks_of
from wsol.protocols import Protocol
from wsol.protocols.attributions import attributions
from wsol.protocols.base import ground_truth_of
from wsol.protocols.ground_truths import GroundTruths
from wsol.runs.arrays import ARRAYS
from wsol.runs.checksums import check_unchanged
from wsol.runs.ground_truth import read_dataset
from wsol.runs.heat_maps import HeatMaps
from wsol.runs.metadata import as_input_errors, read_metadata
from wsol.runs.predictions import prediction_arrays, read_predictions
from wsol.runs.provenance import Provenance
from wsol.runs.results import LocalizationResults, boxes_from_maps
from wsol.runs.score_maps import read_maps
from wsol.runtime.cost import Clock


def score_run(
    folder: Path,
    protocol: Protocol,
    pool: Executor,
    clock: Clock,
    load: Callable[[Split], Dataset] | None = None,
    tau_index: int | None = None,
    attribution: bool = False,
    annotate: Callable[[Dataset], Dataset] | None = None,
) -> tuple[Provenance, LocalizationResults]:
    """Score the raw maps of a run against its ground truth under any protocol.

    Args:
        folder: A complete run of ``wsol.eval``.
        protocol: The protocol.
        pool: Threads for the images.
        clock: Gets the seconds.
        load: Loads a split of its data set, if masks are to be used too; the run itself stores only boxes.
        tau_index: Index of the threshold of the predictions, if it is known.
        attribution: Whether metrics of attributions are computed.
        annotate: Returns the images with the boxes to score against in place of those that the run stored.

    Raises:
        InputError: The folder is no such run, its files do not belong together or were changed, or the data set is
            another.
    """
    with as_input_errors(folder, "run with raw maps; give a folder that wsol.eval wrote"):
        metadata = read_metadata(folder)
        images, sizes = read_dataset(folder, metadata.dataset)
        n = len(images)
        classes, scores, _ = prediction_arrays(read_predictions(folder / "predictions.parquet", images.samples), n)
        view, maps = read_maps(folder, metadata, classes.shape)
        if images.fingerprint != metadata.dataset.fingerprint:
            raise ValueError("its files do not belong together")
        class_only_ranks = _read_class_only_ranks(folder)
    check_unchanged(metadata, folder)
    if load is not None:
        images = _add_masks(images, load(images.split), protocol.uses_masks, bool(metadata.skipped), folder)
    else:
        images = replace(images, content=replace(metadata.dataset.content, masks=""))
    clipped = metadata.clipped_boxes
    if annotate is not None:
        images = replace(annotate(images), content=replace(images.content or Content(), masks=""))
        sizes = [sample.size or size for sample, size in zip(images, sizes, strict=True)]
        clipped = sum(map(count_clipped, images.samples, sizes))
    truths = GroundTruths.stack(ground_truth_of(protocol, *pair) for pair in zip(images, sizes, strict=True))
    heat_maps, constant = HeatMaps(n), np.empty(n, bool)
    predicted = None if tau_index is None else np.empty((*classes.shape, 4))

    def score_chunk(chunk: range) -> tuple[Rows, list[int]]:
        part = slice(chunk.start, chunk.stop)
        chunk_maps, chunk_truths = np.array(maps[part]), truths[part]
        constant[part] = are_constant(chunk_maps[:, 0])
        rows, boxes = protocol.score_batch(view, chunk_maps, chunk_truths, classes[part], tau_index)
        if attribution:
            rows["attribution"] = attributions(protocol, view, chunk_maps[:, :1], chunk_truths)
        if predicted is not None:
            predicted[part] = boxes
        for i, own, truth in zip(chunk, chunk_maps[:, :1], chunk_truths, strict=True):
            heat_maps.keep(i, protocol.window.uncrop(protocol.prepare_view(view, own, truth.size)[0]))
        return rows, [*chunk]

    accumulator, _ = score_all(protocol, images, score_chunk, pool, clock)
    stats = protocol.make_stats(labels=classes[:, 0], ranks=ranks_of(classes), **accumulator.arrays)
    results = LocalizationResults(
        images,
        truths,
        classes,
        scores,
        replace(stats, class_only_ranks=class_only_ranks, objects=truths.objects),
        boxes_from_maps(protocol, view, maps, classes, truths, pool) if predicted is None else lambda _: predicted,
        metadata.skipped,
        clipped,
        accumulator.boxes,
        metadata.notes,
        tuple(images.samples[i].image_id for i in np.flatnonzero(constant)),
        heat_maps=heat_maps.array,
    )
    return replace(metadata.provenance, view=None), results


def _read_class_only_ranks(folder: Path) -> NDArray[np.int64] | None:
    array = next(array for array in ARRAYS if array.name == "class_only_ranks")
    if not (folder / array.file).exists():
        return None
    ranks = memory_map(folder / array.file)
    if not array.fits(ranks, {}):
        raise ValueError(f"{array.file} holds {ranks.dtype} {ranks.shape}")
    return ranks


def _add_masks(images: Dataset, dataset: Dataset, uses_masks: bool, skipped: bool, folder: Path) -> Dataset:
    """Return the run's images as the data set has them, with their masks."""
    places = {sample.image_id: i for i, sample in enumerate(dataset)}
    same = with_content(dataset.subset([places[s.image_id] for s in images if s.image_id in places]), masks=uses_masks)
    own, found = images.content or Content(), same.content or Content()
    other_images = not skipped and own.images and found.images and own.images != found.images
    if same.fingerprint != images.fingerprint or other_images:
        raise InputError(f"{folder} was evaluated on other images or boxes than {same.signature}; leave that out")
    return replace(same, content=replace(own, masks=found.masks))
