"""A run's stored maps, scored again without model or images."""

import json
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pandas as pd

from wsol._clock import Clock
from wsol.collected import Collected, Kept, drawer
from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.evaluation import Origin
from wsol.metrics.classification import ranks_of
from wsol.metrics.trace import Trace
from wsol.protocols import Protocol, View
from wsol.protocols.truth import truth_of
from wsol.runs.predictions import guesses_of
from wsol.runs.truth import read_images
from wsol.sources._gather import gather

_FACTS = ("model", "weights", "preprocessing", "map_size", "layer", "method", "precision", "device", "notes")


def from_run(
    folder: Path,
    protocol: Protocol,
    pool: Executor,
    clock: Clock,
    known: Callable[[Split], Dataset] | None = None,
    level: int | None = None,
) -> tuple[Origin, Collected]:
    """Holds the raw maps of a run against its ground truth, by whatever protocol.

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
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        images, sizes = read_images(folder, run["dataset"])
        n, view = len(images), View(**run["view"])
        classes, scores, _ = guesses_of(pd.read_parquet(folder / "predictions.parquet"), n)
        maps = np.load(folder / "maps.npy", mmap_mode="r", allow_pickle=False)
        origin = Origin(**run["origin"], view=None, facts={key: run[key] for key in _FACTS if key in run})
        skipped, clipped = dict(run["skipped"]), int(run["clipped_boxes"])
        fits = maps.shape[:2] == classes.shape and images.fingerprint == run["dataset"]["fingerprint"]
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename} is missing: {folder} is no run with raw maps; give a folder that wsol.eval wrote"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(f"{folder} is not a run of this version ({error!r:.200}); evaluate again") from error
    if not fits:
        raise InputError(f"the files of {folder} do not belong together; evaluate again")
    if known is not None:
        images = _same(images, known(images.split), folder)
    truths = [truth_of(protocol, sample, size) for sample, size in zip(images, sizes, strict=True)]
    own = Kept(n, level)

    def trace(i: int) -> Trace:
        return own(i, truths[i].trace(protocol, protocol.prepare(view.assembled(maps[i, :1]), truths[i].size)[0]))

    stack, _ = gather(protocol, images, truths, trace, pool, clock)
    evidence = stack.evidence(protocol.delta, classes[:, 0], ranks_of(classes))
    draw = drawer(protocol, view, maps, classes, truths, own)
    return origin, Collected(images, truths, classes, scores, evidence, draw, skipped, clipped, stack.boxes)


def _same(images: Dataset, known: Dataset, folder: Path) -> Dataset:
    """Returns the run's images as the data set has them, with their masks."""
    places = {sample.image_id: i for i, sample in enumerate(known)}
    found = known.subset([places[s.image_id] for s in images if s.image_id in places])
    if found.fingerprint != images.fingerprint:
        raise InputError(
            f"{folder} was held against other images or boxes than those of {known.signature}; leave it out"
        )
    return found
