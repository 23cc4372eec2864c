"""The data of the report page, packed into one string."""

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import astuple
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.metrics.error_types import ERROR_TYPES
from wsol.metrics.hits import are_hits
from wsol.metrics.image_stats import kept_tau_indices
from wsol.metrics.tau import find_tau_index, round_tau
from wsol.reports.heat_map import DEFAULT_COLORMAP
from wsol.runs.arrays import HEAT_MAP_SIDE
from wsol.runs.heat_maps import shrink_maps
from wsol.runs.predictions import prediction_arrays
from wsol.runs.read import StoredRun
from wsol.runs.thumbnails import find_thumbnails, thumbnail_path
from wsol.runtime.jit import as_input, jit
from wsol.runtime.threads import map_ordered

_DELTAS = (0.3, 0.5, 0.7)
_MAP_BYTES = 16 << 20  # of all maps of a run; with more images they become smaller
THUMBNAIL_BYTES = 3 << 20  # of the thumbnails in the page itself
_MAPS_PER_TASK = 64
_CURVE_POINTS = 250
_JPEG = "thumbnails"  # array of JPEG files


def encode_page_data(runs: Sequence[StoredRun], names: Sequence[str], thumbnail_root: str, pool: Executor) -> str:
    """Pack everything that the page's script needs: base64 of gzip of a JSON header followed by arrays.

    Args:
        runs: Runs on the same images.
        names: Names of the runs.
        thumbnail_root: Relative path from the page to the folder with ``thumbnails``: empty, or with a trailing slash.
        pool: Threads that work on it.
    """
    from matplotlib import colormaps  # noqa: PLC0415  # slow to import, and needed after the last batch only

    first = runs[0]
    common = all(np.array_equal(run.taus, first.taus) for run in runs)  # otherwise no slider can serve all runs
    arrays = {"colors": np.rint(255 * colormaps[DEFAULT_COLORMAP](np.arange(256))[:, :3]).astype(np.uint8)}
    arrays |= _image_arrays(next((run for run in runs if (run.folder / "thumbnails").is_dir()), first))
    tau_indices = kept_tau_indices(len(first.taus)).tolist()
    header: dict[str, Any] = {
        "ids": [sample.image_id for sample in first.results.images],
        "classes": first.results.images.classes,
        "errors": ERROR_TYPES,
        "thumbnailRoot": thumbnail_root,
        "taus": [round_tau(first.taus, index) for index in tau_indices] if common else [],
        "runs": [],
    }
    for i, (run, name) in enumerate(zip(runs, names, strict=True)):
        arrays |= {f"{i}.{key}": array for key, array in _run_arrays(run, pool, common).items()}
        delta = run.protocol.delta
        own: dict[str, Any] = {"name": name, "tau": run.metadata.tau.value, "classifies": run.results.classifies}
        own |= {"delta": delta, "minHit": _min_hit(delta), "curves": _accuracy_curves(run) if common else {}}
        own["hitSigns"] = ">≤" if run.protocol.strict == "all" else "≥<"
        header["runs"].append(own)
    return _pack(header, arrays)


def _image_arrays(run: StoredRun) -> dict[str, NDArray[Any]]:
    """Return labels, aspect ratios, true boxes and thumbnails."""
    truths = run.results.truths
    frames = truths.frames(run.protocol).astype(np.float64)
    boxes = truths.boxes / np.repeat(np.tile(frames, 2), truths.counts, axis=0)
    boxes = run.protocol.window.to_image(boxes, (1, 1), (1, 1))
    on_disk = find_thumbnails(run.folder, len(truths))
    thumbnails, embedded = _embedded_thumbnails(run, np.flatnonzero(on_disk))
    return {
        "labels": run.results.classes[:, 0].astype(np.int32),
        "aspects": (truths.sizes[:, 0] / truths.sizes[:, 1]).astype(np.float32),
        "truthStarts": np.append(truths.starts, len(boxes)).astype(np.uint32),
        "truths": _quantize_boxes(boxes),
        "embedded": embedded.astype(np.uint32),
        "thumbnailStarts": np.cumsum([0, *map(len, thumbnails)]).astype(np.uint32),
        _JPEG: np.frombuffer(b"".join(thumbnails), np.uint8),
        "onDisk": on_disk.astype(np.uint8),
    }


def _embedded_thumbnails(run: StoredRun, available: NDArray[np.int64]) -> tuple[list[bytes], NDArray[np.int64]]:
    """Return thumbnails up to the byte budget, evenly spaced over the available ones, and their image indices."""
    if not len(available):
        return [], available
    sampled = available[:: max(1, len(available) // 50)]
    mean_size = np.mean([(run.folder / thumbnail_path(int(i))).stat().st_size for i in sampled])
    count = min(len(available), int(THUMBNAIL_BYTES / mean_size))
    chosen = available[np.arange(count) * len(available) // max(1, count)]
    return [(run.folder / thumbnail_path(int(i))).read_bytes() for i in chosen], chosen


def _run_arrays(run: StoredRun, pool: Executor, over_taus: bool) -> dict[str, NDArray[Any]]:
    """Return predictions, maps, and the boxes and IoUs over taus, if ``over_taus``."""
    results, predictions = run.results, run.tables.predictions
    n, k = results.classes.shape
    frames = np.tile(results.truths.frames(run.protocol), 2).astype(np.float64)
    window = run.protocol.window
    boxes = window.to_image(prediction_arrays(predictions, n)[2] / frames[:, None], (1, 1), (1, 1))
    delta, strict = run.protocol.delta, run.protocol.strict
    ious = np.nan_to_num(predictions["iou"].to_numpy()).reshape(n, k)  # of images that show no object
    errors = pd.Index(predictions["error"].to_numpy())
    codes = pd.Index(ERROR_TYPES).get_indexer(errors).astype(np.uint8)  # 255 for none
    top1 = min(1, k - 1)  # rank 0 is the ground-truth class
    arrays: dict[str, NDArray[Any]] = {
        "box": _quantize_boxes(boxes[:, 0]),
        "iou": _quantize_ious(ious[:, 0], delta, strict == "all"),
        "score": results.scores[:, 0].astype(np.float32),
        "top1": results.classes[:, top1].astype(np.int32),
        "top1Score": results.scores[:, top1].astype(np.float32),
        "top1Box": _quantize_boxes(boxes[:, top1]),
        "top1Iou": _quantize_ious(ious[:, top1], delta, strict != "none"),
        "error": codes.reshape(n, k)[:, top1],
    }
    if results.boxes is not None and len(run.taus) and over_taus:
        tau_indices = kept_tau_indices(len(run.taus))
        arrays["boxes"] = np.empty(results.boxes.shape, np.uint8)
        _shrink_boxes(np.asarray(results.boxes), frames, np.array(astuple(window)), arrays["boxes"])
        arrays["ious"] = _quantize_ious(results.stats.curves.take(tau_indices, axis=1), delta, strict == "all")
    if run.maps is not None:
        arrays["maps"] = _small_maps(run, run.maps, pool)
    elif results.heat_maps is not None:
        side = _largest_side(n)
        arrays["maps"] = results.heat_maps if side == HEAT_MAP_SIDE else shrink_maps(results.heat_maps, side)
    return arrays


def _small_maps(run: StoredRun, maps: NDArray[np.float32], pool: Executor) -> NDArray[np.uint8]:
    """Return downsampled maps of the ground-truth class, each scaled to its own range: uint8 ``(n, side, side)``."""
    view = run.protocol.view
    is_cropped = view.crop != view.side
    side = min(view.side if is_cropped else max(maps.shape[-2:]), _largest_side(len(maps)))

    def downsample(start: int) -> NDArray[np.uint8]:
        rows = _remap_rows(maps, start, min(_MAPS_PER_TASK, len(maps) - start))[:, :1]
        large = np.stack([view.assemble(row, lowest=True)[0] for row in rows]) if is_cropped else rows[:, 0]
        return shrink_maps(large, side)

    return np.concatenate([*map_ordered(pool, downsample, range(0, len(maps), _MAPS_PER_TASK))])


def _largest_side(n: int) -> int:
    """Return the side at which the maps of ``n`` images fit into the page."""
    return max(1, min(HEAT_MAP_SIDE, int((_MAP_BYTES / n) ** 0.5)))


def _remap_rows(maps: NDArray[np.float32], start: int, count: int) -> NDArray[np.float32]:
    """Map some rows of a memory-mapped file separately, so that their pages are freed with them."""
    if not isinstance(maps, np.memmap) or maps.filename is None:
        return maps[start : start + count]
    offset = maps.offset + start * (maps.nbytes // len(maps))
    return np.memmap(maps.filename, np.float32, "r", offset, (count, *maps.shape[1:]))


def _accuracy_curves(run: StoredRun) -> dict[str, list[Any]]:
    """Return accuracies in percent over taus."""
    if not len(run.taus):
        return {}
    stats = run.results.stats.with_objects
    own_index = [] if run.metadata.tau.value is None else [find_tau_index(run.metadata.tau.value, run.taus)]
    even = np.linspace(0, len(run.taus) - 1, _CURVE_POINTS).round().astype(int)
    tau_indices = np.unique(np.concatenate([even, kept_tau_indices(len(run.taus)), np.array(own_index, int)]))
    curves = stats.curves.take(tau_indices, axis=1)
    lines = {}
    if stats.complete:
        strict = stats.strict == "all"
        lines = {f"GT-known, IoU {delta}": are_hits(curves, delta, strict).mean(0) for delta in _DELTAS}
    if stats.ranks is not None:
        for k, guesses in ((1, stats.curves), (5, stats.guesses if stats.top5 else None)):
            if guesses is None:
                continue
            hits = are_hits(guesses.take(tau_indices, axis=1), stats.delta, stats.strict != "none")
            in_top_k = (stats.ranks >= 1) & (stats.ranks <= k)
            lines[f"top-{k} localization"] = (in_top_k[:, None] & hits).mean(0)
    accuracies = {name: np.round(100 * line, 3).tolist() for name, line in lines.items()}
    return {"taus": np.round(run.taus[tau_indices], 6).tolist(), **accuracies}


@jit
def _shrink_boxes(
    boxes: NDArray[np.uint16], frames: NDArray[np.float64], window: NDArray[np.float64], out: NDArray[np.uint8]
) -> None:
    """Write boxes ``(n, m, 4)`` of frames ``(n, 4)``, which show a window of the image, in units of 1/255 of it."""
    for i in range(boxes.shape[0]):
        for j in range(boxes.shape[1]):
            for side in range(4):
                start, extent = window[side % 2], window[2 + side % 2] - window[side % 2]
                share = start + extent * (boxes[i, j, side] / frames[i, side])
                out[i, j, side] = np.uint8(np.rint(255 * min(share, 1.0)))


def _quantize_boxes(boxes: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return boxes in units of 1/65534 of the frame; 65535 if there is none."""
    scaled = np.rint(65534 * np.clip(boxes, 0, 1))
    return np.where(np.isnan(scaled), 65535, scaled).astype(np.uint16)


def _min_hit(delta: float) -> int:
    return max(1, int(1e4 * delta + 1e-3))


def _quantize_ious(ious: NDArray[np.floating], delta: float, strict: bool = False) -> NDArray[np.uint16]:
    """Return IoUs in units of 1e-4, truncated; those of hits, and no others, are at least ``_min_hit``."""
    out = np.empty(ious.shape, np.uint16)
    values = as_input(ious.reshape(-1).astype(np.float64))
    _truncate_ious(values, as_input(are_hits(values, delta, strict)), _min_hit(delta), out.reshape(-1))
    return out


@jit
def _truncate_ious(ious: NDArray[np.float64], hits: NDArray[np.bool_], limit: int, out: NDArray[np.uint16]) -> None:
    for i in range(len(ious)):
        truncated = int(np.floor(1e4 * ious[i] + 1e-3))
        out[i] = max(truncated, limit) if hits[i] else min(truncated, limit - 1)


def _pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return base64 of gzip of: length of the header (uint32), JSON header, and arrays aligned to 8 bytes."""
    index, contents, offset = {}, [], 0
    for name, array in sorted(arrays.items(), key=lambda item: item[0] == _JPEG):
        content = np.ascontiguousarray(array).tobytes()
        content += b"\0" * (-len(content) % 8)
        index[name] = [array.dtype.name, offset, array.size]
        contents.append(content)
        offset += len(content)
    encoded = json.dumps({**header, "arrays": index}, allow_nan=False).encode()
    encoded += b" " * (-(len(encoded) + 4) % 8)
    images = contents.pop() if _JPEG in arrays else b""
    return base64.b64encode(_gzip(b"".join([np.uint32(len(encoded)).tobytes(), encoded, *contents]), images)).decode()


def _gzip(text: bytes, images: bytes) -> bytes:
    """Return a gzip file (RFC 1952) with a part that is compressed, then one that would not get smaller, as it is."""
    fast, stored = zlib.compressobj(3, wbits=-zlib.MAX_WBITS), zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
    blocks = [fast.compress(text), fast.flush(zlib.Z_FULL_FLUSH), stored.compress(images), stored.flush()]
    end = struct.pack("<2L", zlib.crc32(images, zlib.crc32(text)), (len(text) + len(images)) % 2**32)
    return b"".join([b"\x1f\x8b\x08\0\0\0\0\0\0\xff", *blocks, end])
