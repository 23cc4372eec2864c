"""Recomputation of IoU curves and boxes from score maps, baselines or stored boxes."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.baselines import baseline_stats
from wsol.datasets import Mask
from wsol.metrics.base import CURVES
from wsol.metrics.image_stats import kept_tau_indices
from wsol.metrics.iou import best_iou
from wsol.protocols.attributions import attributions
from wsol.runs.arrays import ARRAYS
from wsol.runs.read import StoredRun
from wsol.runs.results import boxes_from_maps
from wsol.runtime.progress import track
from wsol.runtime.threads import map_ordered

_TOLERANCE = 1e-6  # IoU, and pixels
_FILES = {array.name: array.file for array in ARRAYS if array.name in (*CURVES, "peaks", "attribution")}

_ImageCheck = Callable[[int], list[str]]
"""Returns the files in which the values of image ``i`` differ from the recomputed ones."""


def recompute_curves(run: StoredRun, tau_index: int, pool: Executor) -> Iterator[str]:
    """Recompute the curves of every image; yield one phrase per file that differs.

    Curves, peaks and boxes are computed from the raw score maps, or from the baseline; without either, the curves are
    computed at the hundred taus for which boxes are stored.

    Args:
        run: The run.
        tau_index: Index of its tau.
        pool: Threads that share the work.
    """
    if (baseline := run.metadata.provenance.baseline) is not None:
        check = _baseline_check(run, baseline, pool)
    elif run.maps is not None:
        check = _map_check(run, run.maps, tau_index, pool)
    elif run.results.boxes is not None:
        check = _box_check(run, run.results.boxes)
    else:  # one box per image, from which verify computes the IoU
        return
    n, title = len(run.results.truths), f"{run.name}, recomputed"
    results = track(map_ordered(pool, check, range(n)), title, n)
    differing: defaultdict[str, list[int]] = defaultdict(list)
    for i, files in enumerate(results):
        for file in files:
            differing[file].append(i)
    for file, indices in differing.items():
        first = run.results.images.samples[indices[0]].image_id
        yield f"{file}: {len(indices)} of {n} images differ from the recomputed values, the first is {first}"


def _baseline_check(run: StoredRun, baseline: str, pool: Executor) -> _ImageCheck:
    has_regions = _has_regions(run)
    stats = baseline_stats(baseline, run.protocol, run.results.truths, pool, attribution=has_regions)
    arrays = {name: getattr(stats, name) for name in _FILES if name != "attribution" or has_regions}
    return lambda i: _compare_stats(
        run, i, {name: None if array is None else array[i] for name, array in arrays.items()}
    )


def _box_check(run: StoredRun, boxes: NDArray[np.uint16]) -> _ImageCheck:
    curves, tau_indices = run.results.stats.curves, kept_tau_indices(len(run.taus))

    def check(i: int) -> list[str]:
        ious = best_iou(boxes[i].astype(np.float64), run.results.truths[i].boxes)
        return [] if _is_close(curves[i, tau_indices], ious) else ["curves.npy or boxes.npy"]

    return check


def _map_check(run: StoredRun, maps: NDArray[np.float32], tau_index: int, pool: Executor) -> _ImageCheck:
    found, protocol, view = run.results, run.protocol, run.protocol.view
    stored = found.boxes_at(tau_index)
    predicted = boxes_from_maps(protocol, view, maps, found.classes, found.truths, pool)(tau_index)
    pixels, has_regions = found.stats.pixels, _has_regions(run)

    def check(i: int) -> list[str]:
        truth = found.truths[i]
        prepared = protocol.prepare_view(view, maps[i, :1], truth.size)[0]
        stats = protocol.score_map_stats(prepared, truth.boxes)
        peak = np.array(stats.peak_inside)
        expected = {"curves": stats.curve, "contours": stats.contours, "second": stats.second, "peaks": peak}
        if protocol.one_box and found.classifies:
            prepared_first = protocol.prepare_view(view, maps[i, 1:2], truth.size)[0]
            expected["first"] = protocol.score_map_stats(prepared_first, truth.boxes).curve
        files = _compare_stats(run, i, expected)
        if found.boxes is not None and not _is_close(found.boxes[i], stats.boxes[kept_tau_indices(len(stats.boxes))]):
            files.append("boxes.npy")
        if not _is_close(stored[i], predicted[i]):
            files.append("predictions.parquet")
        if has_regions:
            own = attributions(protocol, view, maps[i : i + 1, :1], [truth])[0]
            files += _compare_stats(run, i, {"attribution": own})
        if pixels is not None:  # the mask is not stored: only the number of pixels at each score can be checked
            empty = Mask(*np.zeros((2, *prepared.shape), bool))
            counts = protocol.count_pixels(prepared, lambda: empty)
            files += ["pixels.npy"] * (counts is None or bool((pixels[i].sum(1) > counts.sum(1)).any()))
        return files

    return check


def _has_regions(run: StoredRun) -> bool:
    """Return whether the run has attributions that were compared with boxes; masks are not stored."""
    return run.results.stats.attribution is not None and not run.metadata.dataset.content.masks


def _compare_stats(run: StoredRun, i: int, expected: dict[str, Any]) -> list[str]:
    """Return the files in which the arrays of image ``i`` differ from the expected ones."""
    stored = {name: getattr(run.results.stats, name) for name in expected}
    return [
        _FILES[name]
        for name, array in expected.items()
        if (stored[name] is None) != (array is None) or (array is not None and not _is_close(stored[name][i], array))
    ]


def _is_close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and np.allclose(a.astype(np.float64), b, rtol=0, atol=_TOLERANCE, equal_nan=True)
