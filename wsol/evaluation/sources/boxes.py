"""Boxes that were made elsewhere."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset, Sample
from wsol.datasets.base import TO_EDGES, Corners
from wsol.errors import InputError
from wsol.evaluation.finish import Provenance, file_signature
from wsol.evaluation.sources._faults import Faults
from wsol.evaluation.sources._gather import collected, ground_truths_of, score_all
from wsol.io.text import parse_number, read_csv, read_text
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import ImageStats
from wsol.metrics.iou import best_iou
from wsol.protocols import Protocol
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock

_TOP = 5
_DIGITS = 9  # of a class; more make no number of 32 bits


@dataclass(frozen=True)
class BoxRow:
    """One entry of a file of boxes."""

    where: str
    key: str  # of the image
    label: int | None
    score: float
    corners: tuple[float, float, float, float]


def from_boxes(
    path: Path,
    images: Dataset,
    among: Dataset,
    protocol: Protocol,
    corners: Corners | None,
    skip_bad: bool,
    pool: Executor,
    clock: Clock,
) -> tuple[Provenance, LocalizationResults]:
    """Score boxes in the annotation's frame: one an image, or one for each guessed class.

    A CSV file has the columns ``image_id,x0,y0,x1,y1``; with ``class_id`` (a number or a class name) an image may have
    several rows, and they are ranked by ``score``, where there is that column, else by their order. A JSON file has
    COCO's results: a list of ``image_id, category_id, bbox`` (x, y, width, height) and ``score``. On the data set
    ``coco`` these are COCO's ids; on others the image's id and the class's number.

    Without classes a box is that of the ground-truth class. With them, top-k errors are those of the first five, and
    GT-known accuracy needs a box of the ground-truth class in every image, at whatever rank.

    Args:
        path: A ``.csv`` or ``.json`` file.
        images: The images; their files are not opened where the data set knows their sizes.
        among: The data set that they were taken from: a box of any of its images is not one too many.
        protocol: The conventions; boxes go through the same steps as its ground truth.
        corners: What the numbers of a CSV file mean; None for what those of the data set mean.
        skip_bad: Whether images without a good box are left out.
        pool: Threads that work on it.
        clock: Gets the seconds.

    Raises:
        InputError: The file is malformed; or entries are missing, too many, or not as they should be, and ``skip_bad``
            is not given.
    """
    truths, clipped = ground_truths_of(protocol, images)
    faults = Faults(str(path))
    coco = path.suffix.lower() == ".json"
    if coco and corners not in (None, "edges"):
        raise InputError(f"{path}: COCO's results are x, y, width, height; leave out corners={corners}")
    guesses = list(_from_json(path) if coco else _from_csv(path, images))
    found, classified = _grouped(guesses, images, among, coco, faults)
    given: Corners | None = "edges" if coco else corners
    boxes: dict[int, tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]] = {}
    for i, truth in enumerate(truths):
        if truth.sample.image_id in faults.reasons:
            continue
        mine = found.get(truth.sample.image_id, [])
        edges = np.array([guess.corners for guess in mine]).reshape(-1, 4) + TO_EDGES[given or truth.sample.corners]
        fault = _fault(mine, edges, truth.size)
        if fault or not mine:
            faults.add("unusable" if fault else "missing", truth.sample.image_id, fault, truth.sample.image_id)
            continue
        published = edges - TO_EDGES[truth.sample.corners]
        scaled = protocol.ground_truth(replace(truth.sample, boxes=published), truth.size)
        labels = np.array([truth.sample.label if guess.label is None else guess.label for guess in mine])
        boxes[i] = labels, np.array([guess.score for guess in mine], np.float32), scaled
    notes = faults.raise_or_report(skip_bad)
    width = _TOP if classified else 0
    table = {i: _laid_out(truths[i].sample.label, *rows, width) for i, rows in boxes.items()}

    def trace(i: int) -> ImageStats | None:
        if i not in table:
            return None
        own = table[i][2][:1]
        iou = np.zeros(1) if np.isnan(own).any() else best_iou(own, truths[i].boxes)
        return ImageStats(own, iou.astype(np.float32), peak_inside=False)

    stack, kept = score_all(protocol, images, truths, trace, pool, clock)
    result = collected(protocol, images, truths, stack, kept, lambda i, level: table[i][2], faults.reasons, clipped)
    classes = np.stack([table[i][0] for i in kept])
    complete = not any(np.isnan(table[i][2][0]).any() for i in kept)
    evidence = replace(
        result.stats,
        curves=result.stats.curves[:, :1],
        peaks=None,
        ranks=ranks_of(classes) if classified else None,
        complete=complete,
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    meant = given or images.samples[0].corners
    facts = {"boxes": {"path": path.name, "sha256": digest, "corners": meant}, "notes": notes}
    origin = Provenance(file_signature(path, digest), f"boxes({meant})", None, facts)
    return origin, replace(result, classes=classes, scores=np.stack([table[i][1] for i in kept]), stats=evidence)


def _from_csv(path: Path, images: Dataset) -> Iterator[BoxRow]:
    columns, rows = read_csv(path, "image_id,x0,y0,x1,y1")
    absent = [column for column in ("image_id", "x0", "y0", "x1", "y1") if column not in columns]
    if absent:
        raise InputError(f"{path} lacks the columns {', '.join(absent)}; its header should be image_id,x0,y0,x1,y1")
    names = {name: label for label, name in enumerate(images.classes)}
    for line, row in rows:
        where = f"line {line}"
        label = None
        if "class_id" in columns:
            named = row["class_id"]
            label = names.get(named, int(named) if named.isdecimal() and len(named) <= _DIGITS else -1)
            if label < 0:  # a number that no image has is wrong, but it is a class
                raise InputError(f"{path}, {where}: {named!r:.80} is no class of {images.name}; mend the field")
        score = parse_number(row["score"], path, where) if row.get("score") else np.nan
        x0, y0, x1, y1 = (_real(row[column]) for column in ("x0", "y0", "x1", "y1"))
        yield BoxRow(where, row["image_id"], label, score, (x0, y0, x1, y1))


def _from_json(path: Path) -> Iterator[BoxRow]:
    try:
        entries = json.loads(read_text(path, "COCO's results"), object_pairs_hook=_once)
        if not isinstance(entries, list):
            raise TypeError(f"it is a {type(entries).__name__}")
        for place, entry in enumerate(entries):
            x, y, width, height = map(_as_float, _of(entry["bbox"], list))
            score = _as_float(entry.get("score", np.nan))
            label = _of(entry["category_id"], int)
            if len(str(abs(label))) > _DIGITS:
                raise ValueError(f"category_id {label} is too large")
            image_id = str(_of(entry["image_id"], int, str))
            yield BoxRow(f"entry {place}", image_id, label, score, (x, y, x + width, y + height))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path} is not COCO's results, a list of image_id, category_id, bbox and score ({error!r:.200}); mend it"
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of JSON's pairs, of which the last would count where a name is there twice."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError(f"an entry has a name twice, among {', '.join(entry)}")
    return entry


def _of(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"{value!r:.80} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def _as_float(value: Any) -> float:
    return float(_of(value, int, float))


def _grouped(
    guesses: list[BoxRow], images: Dataset, among: Dataset, coco: bool, faults: Faults
) -> tuple[dict[str, list[BoxRow]], bool]:
    """Return the guesses of every image by rank, and whether they name classes; notes strays and repetitions."""
    owners: defaultdict[str, list[Sample]] = defaultdict(list)
    numbers = {}
    for sample in images:
        owners[_key(sample, coco)].append(sample)
    for sample in among:
        if sample.coco:
            numbers[sample.coco[1]] = sample.label
    known = {_key(sample, coco) for sample in among}
    found: defaultdict[str, list[BoxRow]] = defaultdict(list)
    classified = any(guess.label is not None for guess in guesses)
    for guess in guesses:
        if guess.key not in known:
            faults.add("extra", f"{guess.key} ({guess.where})")
        label = guess.label
        if numbers and coco and label is not None:
            label = numbers.get(label, -1 - label)  # a category that no image has is wrong everywhere
        for sample in owners.get(guess.key, ()):
            found[sample.image_id].append(replace(guess, label=label))
    for image_id, mine in found.items():
        if len({guess.label for guess in mine}) < len(mine):
            faults.add("duplicate", image_id, "two boxes for one class" if classified else "two boxes", image_id)
        unscored = sum(np.isnan(guess.score) for guess in mine)
        if 0 < unscored < len(mine):
            faults.add("unusable", image_id, f"{unscored} of {len(mine)} boxes have no score", image_id)
        elif not unscored:
            mine.sort(key=lambda guess: -guess.score)
    return {image_id: mine for image_id, mine in found.items() if image_id not in faults.reasons}, classified


def _key(sample: Sample, coco: bool) -> str:
    return str(sample.coco[0]) if coco and sample.coco else sample.image_id


def _fault(mine: list[BoxRow], edges: NDArray[np.float64], size: tuple[int, int]) -> str:
    """Return what is wrong with the boxes of an image, if anything."""
    checks = {
        "not four finite numbers": ~np.isfinite(edges).all(1),
        "a score beyond single precision": np.abs([guess.score for guess in mine]) > np.finfo(np.float32).max,
        "an empty or inverted box": (edges[:, 2:] <= edges[:, :2]).any(1),
        f"a box outside the {size[0]} x {size[1]} image": (edges < -1).any(1) | (edges[:, 2:] > np.add(size, 1)).any(1),
    }
    for reason, bad in checks.items():
        if bad.any():
            return f"{mine[int(bad.argmax())].where}: {reason}"
    return ""


def _laid_out(
    own: int, labels: NDArray[np.int64], scores: NDArray[np.float32], boxes: NDArray[np.float64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Return classes, scores and boxes: the ground-truth class's, then the first ``width`` guesses; gaps are NaN."""
    order = [*np.flatnonzero(labels == own)[:1], *range(min(width, len(labels)))]
    first = 0 if (labels == own).any() else 1
    classes = np.full(1 + width, -1)
    values, corners = np.full(1 + width, np.nan, np.float32), np.full((1 + width, 4), np.nan)
    places = slice(first, first + len(order))
    classes[places], values[places], corners[places] = labels[order], scores[order], boxes[order]
    classes[0] = own
    return classes, values, corners


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
