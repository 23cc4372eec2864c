"""A run's stored maps, scored again without model or images."""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.evaluation.finish import Provenance
from wsol.evaluation.sources._gather import score_all
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import ImageStats
from wsol.protocols import Protocol
from wsol.protocols.base import ground_truth_of
from wsol.runs.ground_truth import read_dataset
from wsol.runs.metadata import as_input_errors, read_facts
from wsol.runs.predictions import prediction_arrays, read_predictions
from wsol.runs.results import BoxesAtTau, LocalizationResults, boxes_from_maps
from wsol.runs.score_maps import read_maps
from wsol.runtime.cost import Clock

_FACTS = ("model", "weights", "preprocessing", "map_size", "layer", "method", "precision", "device", "notes")


def from_run(
    folder: Path,
    protocol: Protocol,
    pool: Executor,
    clock: Clock,
    known: Callable[[Split], Dataset] | None = None,
    level: int | None = None,
) -> tuple[Provenance, LocalizationResults]:
    """Hold the raw maps of a run against its ground truth, by whatever protocol.

    Args:
        folder: A complete run of ``wsol.eval``.
        protocol: The conventions.
        pool: Threads that work on it.
        clock: Gets the seconds.
        known: Loads a split of its data set, where masks are to be looked at too; the run itself keeps boxes alone.
        level: Index of the tau at which boxes will be drawn, if it is known.

    Raises:
        InputError: The folder is no such run, its files do not fit each other, or the data set is another.
    """
    with as_input_errors(folder, "run with raw maps; give a folder that wsol.eval wrote"):
        run = read_facts(folder)
        images, sizes = read_dataset(folder, run["dataset"])
        n = len(images)
        classes, scores, _ = prediction_arrays(read_predictions(folder / "predictions.parquet", images.samples), n)
        view, maps = read_maps(folder, run, classes.shape)
        if images.fingerprint != run["dataset"]["fingerprint"]:
            raise ValueError("its files do not belong together")
    origin = Provenance(**run["origin"], view=None, facts={key: run[key] for key in _FACTS if key in run})
    skipped, clipped = dict(run["skipped"]), run["clipped_boxes"]
    if known is not None:
        images = _same(images, known(images.split), folder)
    truths = [ground_truth_of(protocol, sample, size) for sample, size in zip(images, sizes, strict=True)]
    own = BoxesAtTau(n, level)

    def trace(i: int) -> ImageStats:
        return own(
            i, truths[i].score_map_stats(protocol, protocol.prepare(view.assemble(maps[i, :1]), truths[i].size)[0])
        )

    stack, _ = score_all(protocol, images, truths, trace, pool, clock)
    evidence = stack.stats(protocol.delta, classes[:, 0], ranks_of(classes))
    draw = boxes_from_maps(protocol, view, maps, classes, truths, own)
    return origin, LocalizationResults(images, truths, classes, scores, evidence, draw, skipped, clipped, stack.boxes)


def _same(images: Dataset, known: Dataset, folder: Path) -> Dataset:
    """Return the run's images as the data set has them, with their masks."""
    places = {sample.image_id: i for i, sample in enumerate(known)}
    found = known.subset([places[s.image_id] for s in images if s.image_id in places])
    if found.fingerprint != images.fingerprint:
        raise InputError(
            f"{folder} was held against other images or boxes than those of {known.signature}; leave it out"
        )
    return found
