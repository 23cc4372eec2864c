"""What a baseline comes to on the images of a run."""

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

_TOGETHER = 1024  # images


def baseline_stats(
    name: str,
    protocol: Protocol,
    truths: Sequence[GroundTruth],
    pool: Executor,
    ranks: NDArray[np.int64] | None = None,
) -> LocalizationStats:
    """Hold a baseline's boxes against the ground truth.

    Args:
        name: Registered name.
        protocol: The conventions.
        truths: Of each image, ``n``.
        pool: Threads that draw and count pixels.
        ranks: int64 ``(n,)``, as in ``Evidence``: the classification of the run that it stands beside.

    Returns:
        Evidence like that of a method.
    """
    draw = BASELINES.get(name)
    parts = [truths[start : start + _TOGETHER] for start in range(0, len(truths), _TOGETHER)]
    drawn = pool.map(lambda part: [draw(protocol, truth.sample.image_id, truth.size) for truth in part], parts)
    guesses = [guess for part in drawn for guess in part]
    curves = _curves(guesses, truths, max(1, len(protocol.taus)))
    points = np.array([guess.peak for guess in guesses])
    return LocalizationStats(
        curves,
        protocol.delta,
        np.array([truth.sample.label for truth in truths]),
        ranks,
        peaks=_inside(points, truths),
        contours=curves if protocol.contours else None,  # the one box is the best
        pixels=_pixels(guesses, protocol, truths, pool),
    )


def _curves(guesses: Sequence[BaselineBox], truths: Sequence[GroundTruth], levels: int) -> NDArray[np.float32]:
    """Return IoU curves ``(n, levels)``; images that share their boxes are measured together."""
    sharing: defaultdict[int, list[int]] = defaultdict(list)
    for i, guess in enumerate(guesses):
        sharing[id(guess.boxes) if len(guess.boxes) > 1 else 0].append(i)
    out = np.empty((len(guesses), 1 if sharing.keys() == {0} else levels), np.float32)
    for members in sharing.values():
        for start in range(0, len(members), _TOGETHER):
            some = members[start : start + _TOGETHER]
            flat, starts = _flat(truths, some)
            boxes = guesses[some[0]].boxes
            if len(boxes) == 1:  # a box of its own for every image
                own = np.concatenate([guesses[i].boxes for i in some])
                best = iou(np.repeat(own, np.diff(starts, append=len(flat)), axis=0), flat)
                out[some] = np.maximum.reduceat(best, starts)[:, None]
                continue
            changes = np.concatenate([[True], (boxes[1:] != boxes[:-1]).any(1)])  # most keep the last one's box
            best = np.maximum.reduceat(iou(boxes[changes, None], flat), starts, axis=1)
            out[some] = best.T.astype(np.float32)[:, np.cumsum(changes) - 1]
    return np.broadcast_to(out, (len(guesses), levels))


def _inside(points: NDArray[np.float64], truths: Sequence[GroundTruth]) -> NDArray[np.bool_]:
    """Return whether each image's point lies in a box."""
    flat, starts = _flat(truths, range(len(truths)))
    own = np.repeat(points, np.diff(starts, append=len(flat)), axis=0)
    return np.logical_or.reduceat(((flat[:, :2] <= own) & (own < flat[:, 2:])).all(1), starts)


def _flat(truths: Sequence[GroundTruth], members: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the boxes of some images one behind the other, and where each image's begin."""
    boxes = [truths[i].boxes for i in members]
    counts = [len(own) for own in boxes]
    return np.concatenate(boxes), np.cumsum([0, *counts[:-1]])


def _pixels(
    guesses: Sequence[BaselineBox], protocol: Protocol, truths: Sequence[GroundTruth], pool: Executor
) -> NDArray[np.uint32] | None:
    if any(truth.sample.mask is None for truth in truths):
        return None
    found = map_ordered(pool, lambda i: truths[i].pixels(protocol, guesses[i].score_map()), range(len(truths)))
    counts = [count for count in found if count is not None]
    return np.stack(counts) if counts else None
