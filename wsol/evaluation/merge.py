"""From the finished batches of a split to one whole, in the order of the images, whoever made them."""

from collections import deque
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.evaluation.batches import InferenceConfig
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import StatsAccumulator
from wsol.protocols.base import GroundTruth, ground_truth_of
from wsol.runs.batches import BatchStore
from wsol.runs.results import LocalizationResults, boxes_from_maps
from wsol.runs.store import ScoreMapReader, ScoreMapWriter
from wsol.runs.thumbnails import ThumbnailWriter
from wsol.runtime.cost import Clock


def merge(
    setup: InferenceConfig, images: Dataset, parts: BatchStore, folder: Path, pool: Executor, clock: Clock
) -> tuple[LocalizationResults, ScoreMapReader, int]:
    """Put the batches of a split together.

    Args:
        setup: What went over it.
        images: The split.
        parts: All its batches.
        folder: Of the run; gets ``maps.npy`` and ``thumbs``.
        pool: Threads that write pictures.
        clock: Gets the seconds that the batches took, and what this takes.

    Returns:
        What was collected, the raw maps of an image, float32 ``(k, h, w)`` or, of several crops, ``(k, crops, h, w)``,
        and how many images went through the network.

    Raises:
        InputError: No image could be read.
    """
    protocol = setup.protocol
    kept: list[int] = []
    truths: list[GroundTruth] = []
    classes: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    stack = StatsAccumulator(len(images), max(1, len(protocol.taus)))
    skipped: dict[str, str] = {}
    clipped = passes = 0
    with clock("files"), ScoreMapWriter(folder / "maps.npy") as store, ThumbnailWriter(folder) as thumbs:
        for number in range(parts.count):
            part = parts.read(number)
            skipped |= {images.samples[index].image_id: reason for index, reason in part.facts["skipped"]}
            clipped += part.facts["clipped"]
            passes += part.facts["passes"]
            clock.add(part.facts["seconds"])
            if not part.arrays:
                continue
            ends = part.arrays["thumb_ends"].tolist()
            pictures = part.arrays["thumbs"].tobytes()
            cut = [pictures[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            written = pool.map(thumbs.add, range(len(kept), len(kept) + len(cut)), cut)
            stack.add({name[6:]: rows for name, rows in part.arrays.items() if name.startswith("trace.")})
            store.append(part.arrays["maps"])
            kept += (indices := part.arrays["indices"].tolist())
            frames = [(int(width), int(height)) for width, height in part.arrays["frames"]]
            truths += [
                ground_truth_of(protocol, images.samples[i], size) for i, size in zip(indices, frames, strict=True)
            ]
            classes.append(part.arrays["classes"])
            scores.append(part.arrays["scores"])
            deque(written, 0)  # waits, and raises what a thread has raised
        if not kept:
            raise InputError(f"none of the {len(images)} images can be read: {next(iter(skipped.values()))}")
    every, stored = np.concatenate(classes), store.rows()
    evidence = stack.stats(protocol.delta, every[:, 0], ranks_of(every))
    draw = boxes_from_maps(protocol, protocol.view, stored, every, truths)
    left, likely = images.subset(kept), np.concatenate(scores)
    return (
        LocalizationResults(left, truths, every, likely, evidence, draw, skipped, clipped, stack.boxes),
        stored,
        passes,
    )
