"""Curves and boxes made again from what they were made of."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.baselines import baseline_stats
from wsol.datasets import Mask
from wsol.metrics.image_stats import kept_tau_indices
from wsol.metrics.iou import best_iou
from wsol.protocols import View
from wsol.runs.read import StoredRun
from wsol.runs.results import boxes_from_maps
from wsol.runtime.threads import map_ordered

_CLOSE = 1e-6  # IoU, and pixels
_FILES = {"curves": "curves.npy", "contours": "curves_v2.npy", "second": "curves_second.npy", "peaks": "peaks.npy"}

_Judge = Callable[[int], list[str]]
"""Says of an image what does not agree: file names."""


def recompute_curves(run: StoredRun, level: int, pool: Executor) -> Iterator[str]:
    """Trace every image again and yields what does not agree, a phrase each.

    Raw maps give curves, peaks and boxes; a baseline is drawn again; without either, the boxes that are kept at a
    hundred taus give the curves there.

    Args:
        run: The run.
        level: Index of its tau.
        pool: Threads that work on it.
    """
    if "baseline" in run.facts:
        judge = _by_baseline(run, pool)
    elif run.maps is not None:
        judge = _by_maps(run, run.maps, level)
    elif run.found.boxes is not None:
        judge = _by_boxes(run, run.found.boxes)
    else:  # one box an image, which its IoU follows from
        return
    n, title = len(run.found.truths), f"{run.name}, retraced"
    judged = tqdm(map_ordered(pool, judge, range(n)), total=n, unit="image", desc=title, leave=False, disable=None)
    wrong: defaultdict[str, list[int]] = defaultdict(list)
    for i, files in enumerate(judged):
        for file in files:
            wrong[file].append(i)
    for file, places in wrong.items():
        first = run.found.images.samples[places[0]].image_id
        yield f"{file}: {len(places)} of {n} images come out otherwise, the first {first}"


def _by_baseline(run: StoredRun, pool: Executor) -> _Judge:
    again = baseline_stats(run.facts["baseline"], run.protocol, run.found.truths, pool)
    parts = {name: getattr(again, name) for name in _FILES}
    return lambda i: _unlike(run, i, {name: None if part is None else part[i] for name, part in parts.items()})


def _by_boxes(run: StoredRun, boxes: NDArray[np.uint16]) -> _Judge:
    curves, levels = run.found.stats.curves, kept_tau_indices(len(run.taus))

    def judge(i: int) -> list[str]:
        ious = best_iou(boxes[i].astype(np.float64), run.found.truths[i].boxes)
        return [] if _agree(curves[i, levels], ious) else ["curves.npy or boxes.npy"]

    return judge


def _by_maps(run: StoredRun, maps: NDArray[np.float32], level: int) -> _Judge:
    found, protocol, view = run.found, run.protocol, View(**run.facts["view"])
    draw = boxes_from_maps(protocol, view, maps, found.classes, found.truths)
    pixels = found.stats.pixels

    def judge(i: int) -> list[str]:
        truth = found.truths[i]
        prepared = protocol.prepare(view.assemble(maps[i, :1]), truth.size)[0]
        trace = protocol.score_map_stats(prepared, truth.boxes)
        peak = np.array(trace.peak_inside)
        wrong = _unlike(
            run, i, {"curves": trace.curve, "contours": trace.contours, "second": trace.second, "peaks": peak}
        )
        if found.boxes is not None and not _agree(found.boxes[i], trace.boxes[kept_tau_indices(len(trace.boxes))]):
            wrong.append("boxes.npy")
        if not _agree(found.boxes_at(i, level), draw(i, level)):
            wrong.append("predictions.parquet")
        if pixels is not None:  # which are the object's only the mask says, but the map how many there are
            nothing = Mask(*np.zeros((2, *prepared.shape), bool))
            every = protocol.pixels(prepared, lambda: nothing)
            wrong += ["pixels.npy"] * (every is None or bool((pixels[i].sum(1) > every.sum(1)).any()))
        return wrong

    return judge


def _unlike(run: StoredRun, i: int, parts: dict[str, Any]) -> list[str]:
    """Return which of an image's arrays are not as they come out."""
    stored = {name: getattr(run.found.stats, name) for name in parts}
    return [
        _FILES[name]
        for name, part in parts.items()
        if (stored[name] is None) != (part is None) or (part is not None and not _agree(stored[name][i], part))
    ]


def _agree(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and bool((np.abs(np.subtract(one, other, dtype=np.float64)) <= _CLOSE).all())
