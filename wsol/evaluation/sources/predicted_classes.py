"""Predicted classes that another classifier made: a CSV or Parquet file, or a table, of classes by image and rank."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.errors import InputError, first_line
from wsol.evaluation.sources._class_names import index_classes, is_class_index
from wsol.evaluation.sources._faults import Faults
from wsol.io.arrays import read_parquet
from wsol.io.text import parse_int, parse_number, read_csv
from wsol.runs.provenance import ClassifiedFile, ExternalFile, Provenance, file_signature

TOP = 5
"""Predictions that metrics use."""

_COLUMNS = ("image_id", "rank", "class")
_MAX_SCORE = float(np.finfo(np.float32).max)
_TABLE = Path("predictions")  # name of a table that is not a file


@dataclass(frozen=True)
class Ranking:
    """Predicted classes of an image, the best first.

    Attributes:
        classes: Class indices, all different.
        scores: Score of each; NaN without one.
    """

    classes: tuple[int, ...]
    scores: tuple[float, ...]

    def rank(self, label: int) -> int:
        """Return the rank of a class, from 1; 0 if it is not among the first five."""
        return self.classes.index(label) + 1 if label in self.classes[:TOP] else 0


NO_CLASSES = Ranking((), ())
"""The ranking of an image without predictions."""


@dataclass(frozen=True)
class PredictedClasses:
    """Predicted classes of the images of a split.

    Attributes:
        rankings: By image id; images that are left out are absent.
        depth: Number of predictions that are kept of an image, at most five.
        class_only_ranks: As in ``LocalizationStats``.
        skipped: Reason by image id of the images that are left out.
        notes: What deserves a second look, one phrase each.
        file: The file, for ``run.json``.
    """

    rankings: Mapping[str, Ranking]
    depth: int
    class_only_ranks: NDArray[np.int64] | None
    skipped: dict[str, str]
    notes: list[str]
    file: ExternalFile

    def add_to(self, provenance: Provenance) -> Provenance:
        """Return the provenance of maps or boxes together with these classes."""
        external = provenance.external
        assert external is not None
        file = ClassifiedFile(external.path, external.sha256, external.corners, predictions=self.file)
        signed = file_signature(Path(self.file.path), self.file.sha256)
        return replace(provenance, model=f"{provenance.model}+predictions({signed})", external=file)


def read_predicted_classes(
    source: Path | pd.DataFrame, images: Dataset, dataset: Dataset, skip_bad: bool
) -> PredictedClasses:
    """Read predicted classes: the columns ``image_id``, ``rank`` (from 1) and ``class``, and optionally ``score``.

    Classes are indices or names, see ``index_classes``; a column of integers in a Parquet file or a table has indices.
    Rows may have any order. The ranks order the classes; scores are shown, and may not increase with the rank. The
    SHA-256 of a table is that of one line of JSON per row, ``[image_id, rank, class, score]``, in the order of the
    rows.

    Args:
        source: A file ending in ``.csv`` or ``.parquet``, or a table.
        images: The images, including those that only classification counts.
        dataset: The data set that they are part of: predictions for any of its images are not extra ones.
        skip_bad: Whether images without usable predictions are left out.

    Raises:
        InputError: The file is malformed or has a class that is none; or predictions are missing, extra or unusable,
            and ``skip_bad`` is false.
    """
    path = source if isinstance(source, Path) else _TABLE
    faults = Faults(str(path))
    rows_by_image: defaultdict[str, list[_Row]] = defaultdict(list)
    known = {sample.image_id for sample in dataset}
    rows, digest = _read_rows(source, path, dataset)
    for row in rows:
        if row.image_id not in known:
            faults.add("extra", f"{row.image_id} ({row.where})")
        rows_by_image[row.image_id].append(row)
    rankings = {}
    for sample in images:
        own = sorted(rows_by_image.get(sample.image_id, ()), key=lambda row: row.rank)
        if not own:
            faults.add("missing", sample.image_id, image_id=sample.image_id)
        elif problem := _find_problem(own):
            faults.add("unusable", sample.image_id, problem, sample.image_id)
        else:
            ranked = own[:TOP]
            ranking = Ranking(tuple(row.label for row in ranked), tuple(row.score for row in ranked))
            rankings[sample.image_id] = ranking
    notes = [f"{path.name}: {phrase}" for phrase in faults.raise_or_report(skip_bad)]
    left = [sample for sample in images if sample.image_id in rankings]
    if not left:
        raise InputError(f"{path} has no usable predictions for any of the {len(images)} images; fix the file")
    class_only = [rankings[sample.image_id] for sample in left if sample.class_only]
    ranks = np.array([rankings[sample.image_id].rank(sample.label) for sample in left if sample.class_only], np.int64)
    return PredictedClasses(
        rankings,
        # Stored runs keep no classes of the images that only classification counts: the others get no more than these.
        min([max(len(each.classes) for each in rankings.values()), *(len(each.classes) for each in class_only)]),
        ranks if len(ranks) else None,
        faults.reasons,
        notes,
        ExternalFile(path.name, digest),
    )


def arrange_classes(own: int, ranking: Ranking, depth: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return classes and scores ``(1 + depth,)``: the ground-truth class, then the predictions, -1 and NaN in gaps."""
    classes, scores = np.full(1 + depth, -1), np.full(1 + depth, np.nan, np.float32)
    places = slice(1, 1 + min(depth, len(ranking.classes)))
    classes[places], scores[places] = ranking.classes[:depth], ranking.scores[:depth]
    classes[0] = own
    if rank := ranking.rank(own):
        scores[0] = ranking.scores[rank - 1]
    return classes, scores


def arrange_boxes(
    classes: NDArray[np.int64], boxes: Sequence[Mapping[int, NDArray[np.float64]]]
) -> NDArray[np.float64]:
    """Return the boxes ``(n, k, 4)`` of classes ``(n, k)``, from each image's boxes by class; NaN where it has none."""
    arranged = np.full((*classes.shape, 4), np.nan)
    for i, (row, found) in enumerate(zip(classes.tolist(), boxes, strict=True)):
        for j, label in enumerate(row):
            if label in found:
                arranged[i, j] = found[label]
    return arranged


@dataclass(frozen=True)
class _Row:
    where: str
    image_id: str
    rank: int
    label: int
    score: float


def _find_problem(rows: Sequence[_Row]) -> str:
    """Return what is wrong with the rows of an image, sorted by rank, if anything."""
    ranks: dict[int, _Row] = {}
    classes: dict[int, _Row] = {}
    for row in rows:
        if (other := ranks.setdefault(row.rank, row)) is not row:
            return f"{other.where} and {row.where}: rank {row.rank} twice"
        if (other := classes.setdefault(row.label, row)) is not row:
            return f"{other.where} and {row.where}: one class at the ranks {other.rank} and {row.rank}"
        if abs(row.score) > _MAX_SCORE:
            return f"{row.where}: a score beyond single precision"
    for better, worse in pairwise(rows):
        if np.float32(worse.score) > np.float32(better.score):
            return f"{worse.where}: the score of rank {worse.rank} is higher than that of rank {better.rank}"
    if gap := next((rank for rank in range(1, len(rows) + 1) if rank not in ranks), None):
        return f"rank {gap} is missing, but there is rank {rows[-1].rank}"
    return ""


def _read_rows(source: Path | pd.DataFrame, path: Path, dataset: Dataset) -> tuple[list[_Row], str]:
    """Return the rows, and the SHA-256 (hex) of the file or table."""
    texts, are_indices = _read_texts(source)
    places: dict[str, str] = {}
    for where, text in zip(texts.index, texts["class"], strict=True):
        places.setdefault(text, where)
    if are_indices:
        labels = {text: int(text) for text in places}
        wrong = next((text for text, label in labels.items() if not is_class_index(label, dataset)), None)
        if wrong is not None:
            raise InputError(
                f"{path}, {places[wrong]}: {wrong:.80} is no class of {dataset.name}, which has "
                f"{len(dataset.classes)}; fix the field"
            )
    else:
        remedy = "give a Parquet file whose column class has integers, which are indices"
        labels = index_classes(places, dataset, str(path), "class", remedy)
    rows = []
    for where, image_id, rank, label, score in texts.itertuples():
        number = parse_int(rank, path, where)
        if number < 1:
            raise InputError(f"{path}, {where}: the rank is {number}; the best class of an image has the rank 1")
        rows.append(_Row(where, image_id, number, labels[label], parse_number(score, path, where) if score else np.nan))
    if isinstance(source, Path):
        return rows, hashlib.sha256(path.read_bytes()).hexdigest()
    lines = "".join(f"{json.dumps(row)}\n" for row in texts.to_numpy().tolist())
    return rows, hashlib.sha256(lines.encode()).hexdigest()


def _read_texts(source: Path | pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return image id, rank, class and score as texts, by line or row; and whether classes are certainly indices."""
    if isinstance(source, Path) and source.suffix.lower() == ".csv":
        _, rows = read_csv(source, _COLUMNS)
        index = [f"line {line}" for line, _ in rows]
        values = [[*(row[name] for name in _COLUMNS), row.get("score", "")] for _, row in rows]
        return pd.DataFrame(values, index, [*_COLUMNS, "score"], dtype=object), False
    if isinstance(source, Path):
        if source.suffix.lower() != ".parquet":
            raise InputError(f"{source} is neither a .csv nor a .parquet file; give the predictions as one of these")
        try:
            table = read_parquet(source, _COLUMNS, ["score"])
        except Exception as error:  # damaged files raise anything
            raise InputError(
                f"{source} is no Parquet file with the columns image_id, rank and class ({first_line(error):.200}); "
                "fix the file"
            ) from error
    else:
        table = source
        if missing := [column for column in _COLUMNS if list(table.columns).count(column) != 1]:
            raise InputError(
                f"the predictions lack the column {missing[0]}, or have it twice; give image_id, rank and class"
            )
    texts = pd.DataFrame(index=[f"row {row}" for row in range(len(table))], dtype=object)
    for name in _COLUMNS:
        texts[name] = [str(value) for value in table[name].tolist()]
    scores = table["score"].tolist() if "score" in table else [""] * len(table)
    texts["score"] = ["" if pd.isna(value) else str(value) for value in scores]
    return texts, pd.api.types.is_integer_dtype(table["class"])
