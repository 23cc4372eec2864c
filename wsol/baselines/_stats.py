"""Statistics of a baseline on the images of a run."""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES, BaselineBox
from wsol.metrics.base import LocalizationStats
from wsol.metrics.iou import iou, reduce_by_image
from wsol.protocols import Protocol
from wsol.protocols.attributions import compare_with_region
from wsol.protocols.ground_truths import GroundTruths
from wsol.runtime.jit import jit
from wsol.runtime.threads import map_ordered


@dataclass(frozen=True)
class BaselineBoxes:
    """Boxes of a baseline for some images; images may share them.

    Attributes:
        distinct: Each box once.
        which: int64 ``(n,)``, the index of that of each image.
    """

    distinct: list[BaselineBox]
    which: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, protocol: Protocol, truths: GroundTruths) -> "BaselineBoxes":
        """Return the boxes of a registered baseline."""
        baseline = BASELINES.get(name)
        sizes = zip(*truths.sizes.T.tolist(), strict=True)
        boxes = [baseline(protocol, sample.image_id, size) for sample, size in zip(truths.samples, sizes, strict=True)]
        distinct = {id(box): box for box in boxes}
        places = {key: place for place, key in enumerate(distinct)}
        return cls([*distinct.values()], np.array([places[id(box)] for box in boxes], np.int64))

    def at(self, tau_index: int) -> NDArray[np.float64]:
        """Return the box of each image at one threshold, ``(n, 4)``."""
        return np.stack([each.boxes[tau_index if len(each.boxes) > 1 else 0] for each in self.distinct])[self.which]


def baseline_stats(
    name: str,
    protocol: Protocol,
    truths: GroundTruths,
    pool: Executor,
    ranks: NDArray[np.int64] | None = None,
    attribution: bool = False,
) -> LocalizationStats:
    """Compare a baseline's boxes with the ground truth.

    Args:
        name: Registered name.
        protocol: The conventions.
        truths: Ground truth of each image, ``n``.
        pool: Threads that count pixels.
        ranks: int64 ``(n,)``, as in ``LocalizationStats``: the classification of the run that the baseline is
            compared with.
        attribution: Whether the score maps are compared with the regions of the objects.

    Returns:
        Statistics like those of a method.
    """
    boxes = BaselineBoxes.of(name, protocol, truths)
    curves = _iou_curves(boxes, truths, max(1, len(protocol.taus)))
    peaks = np.array([box.peak for box in boxes.distinct])[boxes.which]
    return protocol.make_stats(
        curves=curves,
        labels=truths.labels,
        ranks=ranks,
        peaks=_are_inside(peaks, truths),
        contours=curves if protocol.uses_all_contours else None,  # the only box is the best
        pixels=_count_pixels(boxes, protocol, truths, pool),
        objects=truths.objects,
        attribution=_attributions(boxes, protocol, truths, pool) if attribution else None,
        first=curves if protocol.one_box else None,  # the same box for every class
    )


def _iou_curves(boxes: BaselineBoxes, truths: GroundTruths, taus: int) -> NDArray[np.float32]:
    """Return IoU curves ``(n, taus)``; images that share their boxes are computed together."""
    n, single = len(truths), np.array([len(box.boxes) == 1 for box in boxes.distinct])
    out = np.empty((n, 1 if single.all() else taus), np.float32)
    if single.any():
        members = np.flatnonzero(single[boxes.which])
        own = truths if single.all() else truths.subset(members.tolist())
        first = np.stack([box.boxes[0] for box in boxes.distinct])[boxes.which[members]]
        ious = iou(np.repeat(first, own.counts, axis=0), own.boxes)
        out[members] = reduce_by_image(np.maximum, ious, own.counts)[:, None]
    order = np.argsort(boxes.which, kind="stable")
    ends = np.cumsum(np.bincount(boxes.which))
    for place in np.flatnonzero(~single).tolist():
        members = order[ends[place - 1] if place else 0 : ends[place]]
        shared = boxes.distinct[place].boxes
        changes = np.concatenate([[True], (shared[1:] != shared[:-1]).any(1)])  # most taus have the previous box
        _fill_curves(shared[changes], np.cumsum(changes) - 1, truths.boxes, truths.starts, truths.counts, members, out)
    return np.broadcast_to(out, (n, taus))


@jit
def _fill_curves(
    boxes: NDArray[np.float64],
    columns: NDArray[np.int64],
    ground_truth: NDArray[np.float64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    members: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Write the curves of images that share their boxes.

    Args:
        boxes: ``(b, 4)``, the different boxes.
        columns: ``(taus,)``, the index of the box at each threshold.
        ground_truth: ``(m, 4)``, the ground truth of all images in turn.
        starts: ``(n,)``, index of the first ground-truth box of each image.
        counts: ``(n,)``, number of ground-truth boxes of each image.
        members: The images.
        out: ``(n, taus)``.
    """
    best = np.empty(len(boxes), np.float32)
    for i in members:
        for b in range(len(boxes)):
            x0, y0, x1, y1 = boxes[b]
            area, highest = (x1 - x0) * (y1 - y0), 0.0
            for j in range(starts[i], starts[i] + counts[i]):
                left, top, right, bottom = ground_truth[j]
                width, height = min(x1, right) - max(x0, left), min(y1, bottom) - max(y0, top)
                shared = max(width, 0.0) * max(height, 0.0)
                highest = max(highest, shared / (area + (right - left) * (bottom - top) - shared))
            best[b] = highest
        for tau_index in range(len(columns)):
            out[i, tau_index] = best[columns[tau_index]]


def _are_inside(points: NDArray[np.float64], truths: GroundTruths) -> NDArray[np.bool_]:
    """Return whether the point of each image is in a ground-truth box."""
    repeated = np.repeat(points, truths.counts, axis=0)
    inside: NDArray[np.bool_] = np.all((truths.boxes[:, :2] <= repeated) & (repeated < truths.boxes[:, 2:]), axis=1)
    return reduce_by_image(np.logical_or, inside, truths.counts)


def _count_pixels(
    boxes: BaselineBoxes, protocol: Protocol, truths: GroundTruths, pool: Executor
) -> NDArray[np.uint32] | None:
    """Return the pixel counts of all images; None if an image has no mask or the protocol ignores masks."""
    if not truths.complete_masks:
        return None

    def count(i: int) -> NDArray[np.uint32] | None:
        return truths[i].count_pixels(protocol, boxes.distinct[boxes.which[i]].score_map())

    results = map_ordered(pool, count, range(len(truths)))
    counts = [count for count in results if count is not None]
    return np.stack(counts) if counts else None


def _attributions(
    boxes: BaselineBoxes, protocol: Protocol, truths: GroundTruths, pool: Executor
) -> NDArray[np.float32]:
    """Return the comparison of all score maps with the regions of the objects, ``(n, 6)``."""

    def compare(i: int) -> NDArray[np.float32]:
        box = boxes.distinct[boxes.which[i]]
        prepared, (x, y) = box.score_map(), box.peak
        return compare_with_region(protocol, truths[i], prepared, prepared, (int(y), int(x)))

    return np.stack([*map_ordered(pool, compare, range(len(truths)))])
