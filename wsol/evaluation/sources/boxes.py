"""External boxes: a CSV file, or results in COCO's JSON format."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset, Sample
from wsol.datasets.base import TO_EDGES, Corners
from wsol.errors import InputError
from wsol.evaluation.sources._box_rows import BoxRow, read_box_csv, read_box_json
from wsol.evaluation.sources._faults import Faults
from wsol.evaluation.sources._scoring import by_image, gather_results, ground_truths_of, score_all
from wsol.evaluation.sources.predicted_classes import PredictedClasses, arrange_boxes, arrange_classes
from wsol.metrics.classification import has_top5, ranks_of
from wsol.metrics.image_stats import ImageStats
from wsol.metrics.iou import best_iou
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth
from wsol.runs.provenance import ExternalFile, Provenance, file_signature
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock

_TOP = 5

Arrays = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]
"""Classes, scores and boxes of an image."""


def score_boxes(
    path: Path,
    images: Dataset,
    dataset: Dataset,
    protocol: Protocol,
    corners: Corners | None,
    skip_bad: bool,
    pool: Executor,
    clock: Clock,
    predicted: PredictedClasses | None = None,
) -> tuple[Provenance, LocalizationResults]:
    """Score boxes in the annotation's frame: one per image, or one per predicted class.

    A CSV file has the columns ``image_id,x0,y0,x1,y1``. With ``class_id`` (class indices, or class names) an image may
    have several rows; they are ranked by the column ``score`` if there is one, else by their order. A JSON file has
    results in COCO's format: a list of ``image_id, category_id, bbox`` (x, y, width, height) and ``score``. For the
    data set ``coco`` the ids are COCO's; for others they are the image id and the class index. Of several boxes of one
    class, or without classes, the one of the highest score is used; without scores they are an error.

    Without classes, a box is that of the ground-truth class. With them, top-k errors are those of the first five, and
    GT-known accuracy needs a box of the ground-truth class in every image, at any rank.

    If another classifier predicted the classes, only its ranks count, and a predicted class may lack a box unless it is
    the ground truth's. An image that shows no object needs a row only for its predicted classes.

    Args:
        path: A ``.csv`` or ``.json`` file.
        images: The images; their files are not opened if the data set knows their sizes.
        dataset: The data set that they are part of: a box of any of its images is not an extra one.
        protocol: The protocol; boxes are transformed like its ground truth.
        corners: Corner convention of a CSV file; None for that of the data set.
        skip_bad: Whether images without a usable box are left out.
        pool: Threads for the images.
        clock: Gets the seconds.
        predicted: Predicted classes that another classifier made.

    Raises:
        InputError: The file is malformed; or boxes are missing, extra or unusable, and ``skip_bad`` is false.
    """
    every, images = images, images.localizable()
    truths, clipped = ground_truths_of(protocol, images)
    faults = Faults(str(path))
    coco = path.suffix.lower() == ".json"
    if coco and corners not in (None, "edges"):
        raise InputError(f"{path}: COCO's results are x, y, width, height; leave out corners={corners}")
    convention: Corners | None = "edges" if coco else corners
    rows = list(read_box_json(path, dataset) if coco else read_box_csv(path, dataset))
    classified = any(row.label is not None for row in rows)
    rows_by_image, surplus = _group_by_image(rows, every, dataset, coco, faults)
    optional = bool(predicted) or not classified  # for images that show no object
    boxes = _convert_boxes(rows_by_image, truths, protocol, convention, optional, faults)
    class_only_ranks = _rank_class_only(rows_by_image, every, faults) if classified and not predicted else None
    if predicted:
        class_only_ranks = predicted.class_only_ranks
        boxes = _keep_predicted(boxes, truths, predicted, faults)
    notes = [*(predicted.notes if predicted else ()), *faults.raise_or_report(skip_bad)]
    skipped = {**(predicted.skipped if predicted else {}), **faults.reasons}
    if surplus:
        notes.append(
            f"{path.name}: boxes that score lower than another of their image and class are unused ({surplus})"
        )
    table = {
        i: _arrange_predicted(truths[i].sample, arrays[0], arrays[2], predicted)
        if predicted
        else _arrange(truths[i].sample.label, *arrays, _TOP if classified else 0)
        for i, arrays in boxes.items()
    }
    table = {i: (*row[:2], protocol.share_box(row[2][None], row[0][None])[0]) for i, row in table.items()}

    def image_stats(i: int) -> ImageStats | None:
        if i not in table:
            return None
        own, first = table[i][2][:1], table[i][2][1:2]
        iou = np.zeros(1) if np.isnan(own).any() else best_iou(own, truths[i].boxes)
        has_first = protocol.one_box and len(first) and not np.isnan(first).any()
        of_first = best_iou(first, truths[i].boxes).astype(np.float32) if has_first else None
        if protocol.one_box and images.samples[i].empty:
            of_first = np.zeros(1, np.float32)  # no box can be right, so none is missed
        return ImageStats(own, iou.astype(np.float32), peak_inside=False, first=of_first)

    accumulator, kept = score_all(protocol, images, by_image(image_stats), pool, clock)
    kept_boxes = np.stack([table[i][2] for i in kept]) if kept else np.empty((0, 1, 4))
    results = gather_results(protocol, images, truths, accumulator, kept, lambda _: kept_boxes, skipped, clipped, notes)
    classes = np.stack([table[i][0] for i in kept])
    of_first = results.stats.first
    stats = replace(
        results.stats,
        curves=results.stats.curves[:, :1],
        first=None if of_first is None else of_first[:, :1],
        peaks=None,
        ranks=ranks_of(classes) if classified or predicted else None,
        top5=not predicted or has_top5(classes, len(dataset.classes)),
        class_only_ranks=class_only_ranks,
        complete=not any(np.isnan(table[i][2][0]).any() for i in kept if not images.samples[i].empty),
    )
    external = ExternalFile(
        path.name, hashlib.sha256(path.read_bytes()).hexdigest(), convention or images.samples[0].corners
    )
    provenance = Provenance(file_signature(path, external.sha256), f"boxes({external.corners})", external=external)
    scores = np.stack([table[i][1] for i in kept])
    return (
        predicted.add_to(provenance) if predicted else provenance,
        replace(results, classes=classes, scores=scores, stats=stats),
    )


def _keep_predicted(
    boxes: Mapping[int, Arrays], truths: Sequence[GroundTruth], predicted: PredictedClasses, faults: Faults
) -> dict[int, Arrays]:
    """Return the boxes of images with predictions; note where the ground-truth class is predicted without a box."""
    kept = {}
    for i, arrays in boxes.items():
        sample = truths[i].sample
        if sample.image_id not in predicted.rankings:
            continue
        rank = predicted.rankings[sample.image_id].rank(sample.label)
        if rank and sample.label not in arrays[0] and not sample.empty:
            problem = f"the ground-truth class is predicted at rank {rank}, but it has no box"
            faults.add("unusable", sample.image_id, problem, sample.image_id)
        else:
            kept[i] = arrays
    return kept


def _arrange_predicted(
    sample: Sample, labels: NDArray[np.int64], boxes: NDArray[np.float64], predicted: PredictedClasses
) -> Arrays:
    """Return classes, scores and boxes: the ground-truth class's, then those of another classifier's predictions."""
    classes, scores = arrange_classes(sample.label, predicted.rankings[sample.image_id], predicted.depth)
    by_class = dict(zip(labels.tolist(), boxes, strict=True))
    return classes, scores, arrange_boxes(classes[None], [by_class])[0]


def _convert_boxes(
    rows_by_image: Mapping[str, list[BoxRow]],
    truths: Sequence[GroundTruth],
    protocol: Protocol,
    convention: Corners | None,
    optional: bool,
    faults: Faults,
) -> dict[int, Arrays]:
    """Return labels, scores and boxes in the protocol's frame by image index; note what is missing or unusable.

    ``optional``: images that show no object need no box.
    """
    boxes = {}
    for i, truth in enumerate(truths):
        sample = truth.sample
        if sample.image_id in faults.reasons:
            continue
        rows = rows_by_image.get(sample.image_id, [])
        edges = np.array([row.corners for row in rows]).reshape(-1, 4) + TO_EDGES[convention or sample.corners]
        problem = _find_problem(rows, edges, truth.size)
        if problem or not (rows or (optional and sample.empty)):
            faults.add("unusable" if problem else "missing", sample.image_id, problem, sample.image_id)
            continue
        published = edges - TO_EDGES[sample.corners]
        scaled = protocol.ground_truth(replace(sample, boxes=published), truth.size)
        labels = np.array([sample.label if row.label is None else row.label for row in rows], np.int64)
        boxes[i] = labels, np.array([row.score for row in rows], np.float32), scaled
    return boxes


def _rank_class_only(
    rows_by_image: Mapping[str, list[BoxRow]], images: Dataset, faults: Faults
) -> NDArray[np.int64] | None:
    """Return the ranks of the images that only classification counts; None without any."""
    ranks = []
    for sample in images:
        if not sample.class_only or sample.image_id in faults.reasons:
            continue
        labels = [row.label for row in rows_by_image.get(sample.image_id, [])][:_TOP]
        if not labels:
            faults.add("missing", sample.image_id, image_id=sample.image_id)
            continue
        ranks.append(labels.index(sample.label) + 1 if sample.label in labels else 0)
    return np.array(ranks, np.int64) if ranks else None


def _group_by_image(
    rows: list[BoxRow], images: Dataset, dataset: Dataset, coco: bool, faults: Faults
) -> tuple[dict[str, list[BoxRow]], int]:
    """Return the best row of each class of every image, by rank, and the number of the others; note what is wrong."""
    samples_by_key: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in images:
        samples_by_key[_key(sample, coco)].append(sample)
    labels_by_category = {sample.coco[1]: sample.label for sample in dataset if sample.coco}
    known = {_key(sample, coco) for sample in dataset}
    rows_by_image: defaultdict[str, list[BoxRow]] = defaultdict(list)
    for row in rows:
        if row.key not in known:
            faults.add("extra", f"{row.key} ({row.where})")
        label = row.label
        if labels_by_category and coco and label is not None:
            label = labels_by_category.get(label, -1 - label)  # a category that no image has is wrong everywhere
        for sample in samples_by_key.get(row.key, ()):
            rows_by_image[sample.image_id].append(replace(row, label=label))
    best, unused = {}, set()
    for image_id, own in rows_by_image.items():
        unscored = sum(np.isnan(row.score) for row in own)
        if 0 < unscored < len(own):
            faults.add("unusable", image_id, f"{unscored} of {len(own)} boxes have no score", image_id)
            continue
        ranked = own if unscored else sorted(own, key=lambda row: -row.score)
        firsts: dict[int | None, BoxRow] = {}
        for row in ranked:
            if firsts.setdefault(row.label, row) is not row:
                unused.add(row.where)
        if unscored and len(firsts) < len(own):
            what = "two boxes" if None in firsts else "two boxes for one class"
            faults.add("duplicate", image_id, f"{what}, and no score tells which is better", image_id)
            continue
        best[image_id] = [*firsts.values()]
    return best, len(unused)


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
) -> Arrays:
    """Return classes, scores and boxes: the ground-truth class's, then the first ``top`` rows; NaN fills gaps."""
    order = [*np.flatnonzero(labels == own)[:1], *range(min(top, len(labels)))]
    first = 0 if (labels == own).any() else 1
    classes = np.full(1 + top, -1)
    values, corners = np.full(1 + top, np.nan, np.float32), np.full((1 + top, 4), np.nan)
    places = slice(first, first + len(order))
    classes[places], values[places], corners[places] = labels[order], scores[order], boxes[order]
    classes[0] = own
    return classes, values, corners
