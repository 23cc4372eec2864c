"""External boxes: a CSV file, or results in COCO's JSON format."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset, Sample
from wsol.datasets.base import TO_EDGES, Corners
from wsol.errors import InputError
from wsol.evaluation.sources._faults import Faults
from wsol.evaluation.sources._scoring import gather_results, ground_truths_of, score_all
from wsol.io.text import parse_number, read_csv, read_text
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import ImageStats
from wsol.metrics.iou import best_iou
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth
from wsol.runs.provenance import ExternalFile, Provenance, file_signature
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock

_TOP = 5
_MAX_DIGITS = 9  # of a class index; more do not fit into 32 bits


@dataclass(frozen=True)
class BoxRow:
    """One box of a file.

    Attributes:
        where: Line or entry, for messages.
        key: Id of the image, as the file spells it.
        label: Class index; None without a class.
        score: Score; NaN without one.
        corners: ``(x0, y0, x1, y1)`` in the convention of the file.
    """

    where: str
    key: str
    label: int | None
    score: float
    corners: tuple[float, float, float, float]


def score_boxes(
    path: Path,
    images: Dataset,
    dataset: Dataset,
    protocol: Protocol,
    corners: Corners | None,
    skip_bad: bool,
    pool: Executor,
    clock: Clock,
) -> tuple[Provenance, LocalizationResults]:
    """Score boxes in the annotation's frame: one per image, or one per predicted class.

    A CSV file has the columns ``image_id,x0,y0,x1,y1``. With ``class_id`` (a class index or name) an image may have
    several rows; they are ranked by the column ``score`` if there is one, else by their order. A JSON file has results
    in COCO's format: a list of ``image_id, category_id, bbox`` (x, y, width, height) and ``score``. For the data set
    ``coco`` the ids are COCO's; for others they are the image id and the class index.

    Without classes, a box is that of the ground-truth class. With them, top-k errors are those of the first five, and
    GT-known accuracy needs a box of the ground-truth class in every image, at any rank.

    Args:
        path: A ``.csv`` or ``.json`` file.
        images: The images; their files are not opened if the data set knows their sizes.
        dataset: The data set that they are part of: a box of any of its images is not an extra one.
        protocol: The protocol; boxes are transformed like its ground truth.
        corners: Corner convention of a CSV file; None for that of the data set.
        skip_bad: Whether images without a usable box are left out.
        pool: Threads for the images.
        clock: Gets the seconds.

    Raises:
        InputError: The file is malformed; or boxes are missing, extra or unusable, and ``skip_bad`` is false.
    """
    truths, clipped = ground_truths_of(protocol, images)
    faults = Faults(str(path))
    coco = path.suffix.lower() == ".json"
    if coco and corners not in (None, "edges"):
        raise InputError(f"{path}: COCO's results are x, y, width, height; leave out corners={corners}")
    convention: Corners | None = "edges" if coco else corners
    rows = list(_read_json(path) if coco else _read_csv(path, images))
    rows_by_image, classified = _group_by_image(rows, images, dataset, coco, faults)
    boxes = _convert_boxes(rows_by_image, truths, protocol, convention, faults)
    notes = faults.raise_or_report(skip_bad)
    top = _TOP if classified else 0
    table = {i: _arrange(truths[i].sample.label, *arrays, top) for i, arrays in boxes.items()}

    def image_stats(i: int) -> ImageStats | None:
        if i not in table:
            return None
        own = table[i][2][:1]
        iou = np.zeros(1) if np.isnan(own).any() else best_iou(own, truths[i].boxes)
        return ImageStats(own, iou.astype(np.float32), peak_inside=False)

    accumulator, kept = score_all(protocol, images, image_stats, pool, clock)
    results = gather_results(
        protocol, images, truths, accumulator, kept, lambda i, _: table[i][2], faults.reasons, clipped, notes
    )
    classes = np.stack([table[i][0] for i in kept])
    stats = replace(
        results.stats,
        curves=results.stats.curves[:, :1],
        peaks=None,
        ranks=ranks_of(classes) if classified else None,
        complete=not any(np.isnan(table[i][2][0]).any() for i in kept),
    )
    external = ExternalFile(
        path.name, hashlib.sha256(path.read_bytes()).hexdigest(), convention or images.samples[0].corners
    )
    provenance = Provenance(file_signature(path, external.sha256), f"boxes({external.corners})", external=external)
    return provenance, replace(results, classes=classes, scores=np.stack([table[i][1] for i in kept]), stats=stats)


def _convert_boxes(
    rows_by_image: Mapping[str, list[BoxRow]],
    truths: Sequence[GroundTruth],
    protocol: Protocol,
    convention: Corners | None,
    faults: Faults,
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]]:
    """Return labels, scores and boxes in the protocol's frame by image index; note what is missing or unusable."""
    boxes = {}
    for i, truth in enumerate(truths):
        sample = truth.sample
        if sample.image_id in faults.reasons:
            continue
        rows = rows_by_image.get(sample.image_id, [])
        edges = np.array([row.corners for row in rows]).reshape(-1, 4) + TO_EDGES[convention or sample.corners]
        problem = _find_problem(rows, edges, truth.size)
        if problem or not rows:
            faults.add("unusable" if problem else "missing", sample.image_id, problem, sample.image_id)
            continue
        published = edges - TO_EDGES[sample.corners]
        scaled = protocol.ground_truth(replace(sample, boxes=published), truth.size)
        labels = np.array([sample.label if row.label is None else row.label for row in rows])
        boxes[i] = labels, np.array([row.score for row in rows], np.float32), scaled
    return boxes


def _read_csv(path: Path, images: Dataset) -> Iterator[BoxRow]:
    columns, rows = read_csv(path, "image_id,x0,y0,x1,y1")
    missing = [column for column in ("image_id", "x0", "y0", "x1", "y1") if column not in columns]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; its header should be image_id,x0,y0,x1,y1")
    names = {name: label for label, name in enumerate(images.classes)}
    for line, row in rows:
        where = f"line {line}"
        label = None
        if "class_id" in columns:
            name = row["class_id"]
            label = names.get(name, int(name) if name.isdecimal() and len(name) <= _MAX_DIGITS else -1)
            if label < 0:  # a number that no image has is wrong, but it is a class
                raise InputError(f"{path}, {where}: {name!r:.80} is no class of {images.name}; fix the field")
        score = parse_number(row["score"], path, where) if row.get("score") else np.nan
        x0, y0, x1, y1 = (_parse_float(row[column]) for column in ("x0", "y0", "x1", "y1"))
        yield BoxRow(where, row["image_id"], label, score, (x0, y0, x1, y1))


def _read_json(path: Path) -> Iterator[BoxRow]:
    try:
        entries = json.loads(read_text(path, "COCO's results"), object_pairs_hook=_unique_dict)
        if not isinstance(entries, list):
            raise TypeError(f"it is a {type(entries).__name__}")
        for place, entry in enumerate(entries):
            x, y, width, height = map(_as_float, _require_type(entry["bbox"], list))
            score = _as_float(entry.get("score", np.nan))
            label = _require_type(entry["category_id"], int)
            if len(str(abs(label))) > _MAX_DIGITS:
                raise ValueError(f"category_id {label} is too large")
            image_id = str(_require_type(entry["image_id"], int, str))
            yield BoxRow(f"entry {place}", image_id, label, score, (x, y, x + width, y + height))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path} is not COCO's results, a list of image_id, category_id, bbox and score ({error!r:.200}); fix "
            "the file"
        ) from error


def _unique_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dictionary of JSON's pairs; without this, the last of several values with one name would win."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError(f"an entry has the same name twice, among {', '.join(entry)}")
    return entry


def _require_type(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"{value!r:.80} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def _as_float(value: Any) -> float:
    return float(_require_type(value, int, float))


def _group_by_image(
    rows: list[BoxRow], images: Dataset, dataset: Dataset, coco: bool, faults: Faults
) -> tuple[dict[str, list[BoxRow]], bool]:
    """Return the rows of every image by rank, and whether they have classes; note extra and duplicate ones."""
    samples_by_key: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in images:
        samples_by_key[_key(sample, coco)].append(sample)
    labels_by_category = {sample.coco[1]: sample.label for sample in dataset if sample.coco}
    known = {_key(sample, coco) for sample in dataset}
    rows_by_image: defaultdict[str, list[BoxRow]] = defaultdict(list)
    classified = any(row.label is not None for row in rows)
    for row in rows:
        if row.key not in known:
            faults.add("extra", f"{row.key} ({row.where})")
        label = row.label
        if labels_by_category and coco and label is not None:
            label = labels_by_category.get(label, -1 - label)  # a category that no image has is wrong everywhere
        for sample in samples_by_key.get(row.key, ()):
            rows_by_image[sample.image_id].append(replace(row, label=label))
    for image_id, own in rows_by_image.items():
        if len({row.label for row in own}) < len(own):
            faults.add("duplicate", image_id, "two boxes for one class" if classified else "two boxes", image_id)
        unscored = sum(np.isnan(row.score) for row in own)
        if 0 < unscored < len(own):
            faults.add("unusable", image_id, f"{unscored} of {len(own)} boxes have no score", image_id)
        elif not unscored:
            own.sort(key=lambda row: -row.score)
    return {image_id: own for image_id, own in rows_by_image.items() if image_id not in faults.reasons}, classified


def _key(sample: Sample, coco: bool) -> str:
    return str(sample.coco[0]) if coco and sample.coco else sample.image_id


def _find_problem(rows: list[BoxRow], edges: NDArray[np.float64], size: tuple[int, int]) -> str:
    """Return what is wrong with the boxes of an image, if anything."""
    checks = {
        "not four finite numbers": ~np.isfinite(edges).all(1),
        "a score beyond single precision": np.abs([row.score for row in rows]) > np.finfo(np.float32).max,
        "an empty or inverted box": (edges[:, 2:] <= edges[:, :2]).any(1),
        f"a box outside the {size[0]} x {size[1]} image": (edges < -1).any(1) | (edges[:, 2:] > np.add(size, 1)).any(1),
    }
    for reason, bad in checks.items():
        if bad.any():
            return f"{rows[int(bad.argmax())].where}: {reason}"
    return ""


def _arrange(
    own: int, labels: NDArray[np.int64], scores: NDArray[np.float32], boxes: NDArray[np.float64], top: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Return classes, scores and boxes: the ground-truth class's, then the first ``top`` rows; NaN fills gaps."""
    order = [*np.flatnonzero(labels == own)[:1], *range(min(top, len(labels)))]
    first = 0 if (labels == own).any() else 1
    classes = np.full(1 + top, -1)
    values, corners = np.full(1 + top, np.nan, np.float32), np.full((1 + top, 4), np.nan)
    places = slice(first, first + len(order))
    classes[places], values[places], corners[places] = labels[order], scores[order], boxes[order]
    classes[0] = own
    return classes, values, corners


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
