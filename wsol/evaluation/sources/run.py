"""A stored run as the source of score maps, scored again without network or images."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.evaluation.sources._scoring import score_all
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import ImageStats
from wsol.protocols import Protocol
from wsol.protocols.base import ground_truth_of
from wsol.runs.ground_truth import read_dataset
from wsol.runs.metadata import as_input_errors, read_metadata
from wsol.runs.predictions import prediction_arrays, read_predictions
from wsol.runs.provenance import Provenance
from wsol.runs.results import BoxesAtTau, LocalizationResults, boxes_from_maps
from wsol.runs.score_maps import read_maps
from wsol.runtime.cost import Clock


def score_run(
    folder: Path,
    protocol: Protocol,
    pool: Executor,
    clock: Clock,
    load: Callable[[Split], Dataset] | None = None,
    tau_index: int | None = None,
) -> tuple[Provenance, LocalizationResults]:
    """Score the raw maps of a run against its ground truth under any protocol.

    Args:
        folder: A complete run of ``wsol.eval``.
        protocol: The protocol.
        pool: Threads for the images.
        clock: Gets the seconds.
        load: Loads a split of its data set, if masks are to be used too; the run itself stores only boxes.
        tau_index: Index of the threshold of the predictions, if it is known.

    Raises:
        InputError: The folder is no such run, its files do not belong together, or the data set is another.
    """
    with as_input_errors(folder, "run with raw maps; give a folder that wsol.eval wrote"):
        metadata = read_metadata(folder)
        images, sizes = read_dataset(folder, metadata.dataset)
        n = len(images)
        classes, scores, _ = prediction_arrays(read_predictions(folder / "predictions.parquet", images.samples), n)
        view, maps = read_maps(folder, metadata, classes.shape)
        if images.fingerprint != metadata.dataset.fingerprint:
            raise ValueError("its files do not belong together")
    if load is not None:
        images = _add_masks(images, load(images.split), folder)
    truths = [ground_truth_of(protocol, sample, size) for sample, size in zip(images, sizes, strict=True)]
    kept = BoxesAtTau(n, tau_index)

    def image_stats(i: int) -> ImageStats:
        prepared = protocol.prepare(view.assemble(maps[i, :1]), truths[i].size)[0]
        return kept.keep(i, truths[i].score_map_stats(protocol, prepared))

    accumulator, _ = score_all(protocol, images, image_stats, pool, clock)
    results = LocalizationResults(
        images,
        truths,
        classes,
        scores,
        accumulator.stats(protocol.delta, classes[:, 0], ranks_of(classes)),
        boxes_from_maps(protocol, view, maps, classes, truths, kept),
        metadata.skipped,
        metadata.clipped_boxes,
        accumulator.boxes,
        metadata.notes,
    )
    return replace(metadata.provenance, view=None), results


def _add_masks(images: Dataset, dataset: Dataset, folder: Path) -> Dataset:
    """Return the run's images as the data set has them, with their masks."""
    places = {sample.image_id: i for i, sample in enumerate(dataset)}
    same = dataset.subset([places[s.image_id] for s in images if s.image_id in places])
    if same.fingerprint != images.fingerprint:
        raise InputError(f"{folder} was evaluated on other images or boxes than {dataset.signature}; leave that out")
    return same
