"""What the page shows of each image, packed into one blob."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from wsol.metrics.error_types import ERROR_TYPES
from wsol.metrics.image_stats import kept_tau_indices
from wsol.metrics.summary import find_tau_index, round_tau
from wsol.protocols import View
from wsol.runs.predictions import prediction_arrays
from wsol.runs.read import StoredRun
from wsol.runs.thumbnails import thumbnail_path
from wsol.runtime.threads import map_ordered

_DELTAS = (0.3, 0.5, 0.7)
_MAP_SIDE = 28  # of a map in the page
_MAP_BYTES = 16 << 20  # of all maps of a run; with more images they become smaller
_THUMB_BYTES = 3 << 20  # of the pictures in the page itself
_TOGETHER = 64  # maps that are made smaller at once
_TINY = np.finfo(np.float32).tiny  # a constant map is zero
_LEVELS = 250  # points of a curve


def encode_page_data(runs: Sequence[StoredRun], names: Sequence[str], pictures: str, pool: Executor) -> str:
    """Pack everything that the page's script needs: base64 of gzip of a JSON header and the arrays behind it.

    Args:
        runs: On the same images.
        names: What they are called.
        pictures: Path from the page to the folder that has ``thumbs``, with a slash behind it unless it is empty.
        pool: Threads that work on it.
    """
    first = runs[0]
    arrays = {"colours": np.rint(255 * colormaps["viridis"](np.arange(256))[:, :3]).astype(np.uint8)}
    arrays |= _of_images(next((run for run in runs if (run.folder / "thumbs").is_dir()), first))
    facts: dict[str, Any] = {
        "ids": [sample.image_id for sample in first.found.images],
        "classes": first.found.images.classes,
        "errors": ERROR_TYPES,
        "delta": first.protocol.delta,
        "pictures": pictures,
        "taus": [round_tau(first.taus, level) for level in kept_tau_indices(len(first.taus)).tolist()],
        "runs": [],
    }
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        arrays |= {f"{place}.{key}": array for key, array in _of_run(run, pool).items()}
        facts["runs"].append({"name": name, "tau": run.facts["tau"]["value"], "curves": _curves(run)})
    return _blob(facts, arrays)


def _of_images(run: StoredRun) -> dict[str, NDArray[Any]]:
    """Return labels, shapes, true boxes and pictures."""
    truths = run.found.truths
    frames = np.array([run.protocol.frame(truth.size) for truth in truths], np.float64)
    counts = [len(truth.boxes) for truth in truths]
    boxes = np.concatenate([truth.boxes for truth in truths]) / np.repeat(np.tile(frames, 2), counts, axis=0)
    beside = np.array([(run.folder / thumbnail_path(i)).is_file() for i in range(len(truths))])
    inside, chosen = _pictures(run, np.flatnonzero(beside))
    return {
        "labels": run.found.classes[:, 0].astype(np.int32),
        "aspects": np.array([truth.size[0] / truth.size[1] for truth in truths], np.float32),
        "truthStarts": np.cumsum([0, *counts]).astype(np.uint32),
        "truths": _fractions(boxes),
        "pictured": chosen.astype(np.uint32),
        "pictureStarts": np.cumsum([0, *map(len, inside)]).astype(np.uint32),
        "pictures": np.frombuffer(b"".join(inside), np.uint8),
        "beside": beside.astype(np.uint8),
    }


def _pictures(run: StoredRun, places: NDArray[np.int64]) -> tuple[list[bytes], NDArray[np.int64]]:
    """Return pictures, evenly spaced over the images that have one, up to the budget, and which images they are of."""
    if not len(places):
        return [], places
    typical = np.mean(
        [(run.folder / thumbnail_path(int(i))).stat().st_size for i in places[:: max(1, len(places) // 50)]]
    )
    count = min(len(places), int(_THUMB_BYTES / typical))
    chosen = places[np.arange(count) * len(places) // max(1, count)]
    return [(run.folder / thumbnail_path(int(i))).read_bytes() for i in chosen], chosen


def _of_run(run: StoredRun, pool: Executor) -> dict[str, NDArray[Any]]:
    """Return guesses, maps, and the boxes and IoUs over taus."""
    found, guesses = run.found, run.tables.predictions
    n, k = found.classes.shape
    frames = np.tile([run.protocol.frame(truth.size) for truth in found.truths], 2).astype(np.float64)
    boxes = prediction_arrays(guesses, n)[2] / frames[:, None]
    ious = guesses["iou"].to_numpy().reshape(n, k)
    codes = guesses["error"].map({name: code for code, name in enumerate(ERROR_TYPES)}).fillna(255)
    guess = min(1, k - 1)
    arrays: dict[str, NDArray[Any]] = {
        "box": _fractions(boxes[:, 0]),
        "iou": _ten_thousandths(ious[:, 0]),
        "score": found.scores[:, 0].astype(np.float32),
        "guess": found.classes[:, guess].astype(np.int32),
        "guessScore": found.scores[:, guess].astype(np.float32),
        "guessBox": _fractions(boxes[:, guess]),
        "guessIou": _ten_thousandths(ious[:, guess]),
        "error": codes.to_numpy(np.uint8).reshape(n, k)[:, guess],
    }
    if found.boxes is not None and len(run.taus):
        levels = kept_tau_indices(len(run.taus))
        arrays["boxes"] = np.rint(255 * np.clip(found.boxes / frames[:, None], 0, 1)).astype(np.uint8)
        arrays["ious"] = _ten_thousandths(found.stats.curves[:, levels])
    if run.maps is not None:
        arrays["maps"] = _maps(run, run.maps, pool)
    return arrays


def _maps(run: StoredRun, maps: NDArray[np.float32], pool: Executor) -> NDArray[np.uint8]:
    """Return the maps of the ground-truth class, small, each over its own range: uint8 ``(n, side, side)``."""
    view = View(**run.facts["view"])
    side = min(_MAP_SIDE, view.side if maps.ndim > 4 else max(maps.shape[-2:]), int((_MAP_BYTES / len(maps)) ** 0.5))

    def small(start: int) -> NDArray[np.uint8]:
        some = _again(maps, start, min(_TOGETHER, len(maps) - start))[:, :1]
        own = np.stack([view.assemble(each)[0] for each in some]) if maps.ndim > 4 else some[:, 0]
        own = _shrunk(own - own.min((1, 2), keepdims=True), max(1, side))
        shades: NDArray[np.uint8] = np.rint(255 * own / np.maximum(own.max((1, 2), keepdims=True), _TINY)).astype(
            np.uint8
        )
        return shades

    return np.concatenate([*map_ordered(pool, small, range(0, len(maps), _TOGETHER))])


def _again(maps: NDArray[np.float32], start: int, count: int) -> NDArray[np.float32]:
    """Return some rows of a file that is mapped, mapped by themselves: their pages leave the memory with them."""
    if not isinstance(maps, np.memmap) or maps.filename is None:
        return maps[start : start + count]
    offset = maps.offset + start * (maps.nbytes // len(maps))
    return np.memmap(maps.filename, np.float32, "r", offset, (count, *maps.shape[1:]))


def _shrunk(maps: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Return the means of maps ``(n, h, w)`` over ``side`` by ``side`` tiles; where pixels are fewer, they repeat."""
    means = maps.astype(np.float64)
    for axis in (1, 2):
        length = means.shape[axis]
        starts = np.arange(side) * length // side
        if length < side:
            means = means.take(starts, axis)
        else:
            sizes = np.diff(starts, append=length)
            means = np.add.reduceat(means, starts, axis) / (sizes[:, None] if axis == 1 else sizes)
    return means


def _curves(run: StoredRun) -> dict[str, list[Any]]:
    """Return accuracies in percent over taus."""
    if not len(run.taus):
        return {}
    evidence = run.found.stats
    own = [] if run.facts["tau"]["value"] is None else [find_tau_index(run.facts["tau"]["value"], run.taus)]
    even = np.linspace(0, len(run.taus) - 1, _LEVELS).round().astype(int)
    levels = np.unique(np.concatenate([even, kept_tau_indices(len(run.taus)), np.array(own, int)]))
    curves = evidence.curves[:, levels]
    lines = {}
    if evidence.complete:
        lines = {f"GT-known, IoU {delta}": (curves >= np.float32(delta)).mean(0) for delta in _DELTAS}
    if evidence.ranks is not None:
        for k in (1, 5):
            guessed = (evidence.ranks >= 1) & (evidence.ranks <= k)
            lines[f"top-{k} localization"] = (guessed[:, None] & (curves >= np.float32(evidence.delta))).mean(0)
    accuracies = {name: np.round(100 * line, 3).tolist() for name, line in lines.items()}
    return {"taus": np.round(run.taus[levels], 6).tolist(), **accuracies}


def _fractions(boxes: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return boxes in units of the frame over 65534; 65535 where there is none."""
    scaled = np.rint(65534 * np.clip(boxes, 0, 1))
    return np.where(np.isnan(scaled), 65535, scaled).astype(np.uint16)


def _ten_thousandths(ious: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return IoUs cut off behind the fourth digit, so that what misses a delta does not show as reaching it."""
    return np.floor(1e4 * ious.astype(np.float64) + 1e-3).astype(np.uint16)


def _blob(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return base64 of gzip of: length of the header (uint32), the header, the arrays, each from a multiple of 8."""
    places, parts, offset = {}, [], 0
    for name, array in arrays.items():
        content = np.ascontiguousarray(array).tobytes()
        content += b"\0" * (-len(content) % 8)
        places[name] = [array.dtype.name, offset, array.size]
        parts.append(content)
        offset += len(content)
    header = json.dumps({**facts, "arrays": places}, allow_nan=False).encode()
    header += b" " * (-(len(header) + 4) % 8)
    whole = b"".join([np.uint32(len(header)).tobytes(), header, *parts])
    return base64.b64encode(gzip.compress(whole, 3, mtime=0)).decode()
