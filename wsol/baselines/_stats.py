"""Statistics of a baseline on the images of a run."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES, BaselineBox
from wsol.metrics.base import LocalizationStats
from wsol.metrics.iou import iou
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth
from wsol.runtime.threads import map_ordered

_CHUNK = 1024  # images


def baseline_stats(
    name: str,
    protocol: Protocol,
    ground_truths: Sequence[GroundTruth],
    pool: Executor,
    ranks: NDArray[np.int64] | None = None,
) -> LocalizationStats:
    """Compare a baseline's boxes with the ground truth.

    Args:
        name: Registered name.
        protocol: The conventions.
        ground_truths: Ground truth of each image, ``n``.
        pool: Threads that compute the boxes and count pixels.
        ranks: int64 ``(n,)``, as in ``LocalizationStats``: the classification of the run that the baseline is
            compared with.

    Returns:
        Statistics like those of a method.
    """
    baseline = BASELINES.get(name)
    chunks = [ground_truths[start : start + _CHUNK] for start in range(0, len(ground_truths), _CHUNK)]
    results = pool.map(lambda chunk: [baseline(protocol, gt.sample.image_id, gt.size) for gt in chunk], chunks)
    boxes = [box for chunk in results for box in chunk]
    curves = _iou_curves(boxes, ground_truths, max(1, len(protocol.taus)))
    return LocalizationStats(
        curves,
        protocol.delta,
        np.array([ground_truth.sample.label for ground_truth in ground_truths]),
        ranks,
        peaks=_are_inside(np.array([box.peak for box in boxes]), ground_truths),
        contours=curves if protocol.uses_all_contours else None,  # the only box is the best
        pixels=_count_pixels(boxes, protocol, ground_truths, pool),
        off_grid=protocol.off_grid,
    )


def _iou_curves(boxes: Sequence[BaselineBox], ground_truths: Sequence[GroundTruth], taus: int) -> NDArray[np.float32]:
    """Return IoU curves ``(n, taus)``; images that share their boxes are computed together."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for i, box in enumerate(boxes):
        groups[id(box.boxes) if len(box.boxes) > 1 else 0].append(i)
    out = np.empty((len(boxes), 1 if groups.keys() == {0} else taus), np.float32)
    for members in groups.values():
        for start in range(0, len(members), _CHUNK):
            chunk = members[start : start + _CHUNK]
            flat, starts = _concatenate_boxes(ground_truths, chunk)
            shared = boxes[chunk[0]].boxes
            if len(shared) == 1:  # one box per image, not shared
                own = np.concatenate([boxes[i].boxes for i in chunk])
                best = iou(np.repeat(own, np.diff(starts, append=len(flat)), axis=0), flat)
                out[chunk] = np.maximum.reduceat(best, starts)[:, None]
                continue
            changes = np.concatenate([[True], (shared[1:] != shared[:-1]).any(1)])  # most taus have the previous box
            best = np.maximum.reduceat(iou(shared[changes, None], flat), starts, axis=1)
            out[chunk] = best.T.astype(np.float32)[:, np.cumsum(changes) - 1]
    return np.broadcast_to(out, (len(boxes), taus))


def _are_inside(points: NDArray[np.float64], ground_truths: Sequence[GroundTruth]) -> NDArray[np.bool_]:
    """Return whether the point of each image is in a ground-truth box."""
    flat, starts = _concatenate_boxes(ground_truths, range(len(ground_truths)))
    repeated = np.repeat(points, np.diff(starts, append=len(flat)), axis=0)
    return np.logical_or.reduceat(((flat[:, :2] <= repeated) & (repeated < flat[:, 2:])).all(1), starts)


def _concatenate_boxes(
    ground_truths: Sequence[GroundTruth], indices: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the ground-truth boxes of several images in one array, and the index of the first box of each image."""
    boxes = [ground_truths[i].boxes for i in indices]
    counts = [len(image_boxes) for image_boxes in boxes]
    return np.concatenate(boxes), np.cumsum([0, *counts[:-1]])


def _count_pixels(
    boxes: Sequence[BaselineBox], protocol: Protocol, ground_truths: Sequence[GroundTruth], pool: Executor
) -> NDArray[np.uint32] | None:
    """Return the pixel counts of all images; None if an image has no mask or the protocol ignores masks."""
    if any(ground_truth.sample.mask is None for ground_truth in ground_truths):
        return None
    results = map_ordered(
        pool, lambda i: ground_truths[i].count_pixels(protocol, boxes[i].score_map()), range(len(boxes))
    )
    counts = [count for count in results if count is not None]
    return np.stack(counts) if counts else None
