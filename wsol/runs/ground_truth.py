"""The ground truth of a run, ``ground_truth.parquet``, so that it can be scored again without the data set."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.datasets import SPLITS, Dataset, Sample, check_dataset
from wsol.datasets.base import MAX_PIXELS, TO_EDGES, as_boxes
from wsol.io.arrays import read_parquet
from wsol.runs.metadata import DatasetRecord

_NO_BOX = np.full((1, 4), np.nan)
_COLUMNS = ["image_id", "label", "corners", "x0", "y0", "x1", "y1", "width", "height", "published"]


def ground_truth_table(samples: Sequence[Sample], sizes: NDArray[np.int64]) -> pd.DataFrame:
    """Return the published boxes, one row per box; an image that shows no object has one row, whose corners are NaN.

    Args:
        samples: The images.
        sizes: int64 ``(n, 2)``, width and height of the frame of each image's boxes.

    Returns:
        image_id, label, corners, x0, y0, x1, y1, width, height, published: whether the annotation names that size.
    """
    boxes = [sample.boxes if len(sample.boxes) else _NO_BOX for sample in samples]
    counts = [len(each) for each in boxes]
    by_image = {
        "image_id": np.array([sample.image_id for sample in samples], object),
        "label": np.array([sample.label for sample in samples], np.int64),
        "corners": np.array([sample.corners for sample in samples], object),
        "width": sizes[:, 0],
        "height": sizes[:, 1],
        "published": np.array([sample.size is not None for sample in samples]),
    }
    columns = {name: np.repeat(values, counts) for name, values in by_image.items()}
    columns |= dict(zip(("x0", "y0", "x1", "y1"), np.concatenate(boxes).T, strict=True))
    return pd.DataFrame({name: columns[name] for name in _COLUMNS})


def read_ground_truth(path: Path) -> tuple[tuple[Sample, ...], list[tuple[int, int]]]:
    """Read the samples in their order, without images and masks, and the sizes.

    Raises:
        ValueError: It is not what ``ground_truth_table`` returns. Damaged files raise whatever pyarrow raises.
    """
    table = read_parquet(path, _COLUMNS)
    if problem := _find_problem(table):
        raise ValueError(f"{path.name}: {problem}")
    ids = table["image_id"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    boxes = np.split(table[["x0", "y0", "x1", "y1"]].to_numpy(np.float64), starts[1:])
    first = table.iloc[starts]
    sizes = [*zip(first["width"].astype(int).tolist(), first["height"].astype(int).tolist(), strict=True)]
    published = [size if known else None for size, known in zip(sizes, first["published"], strict=True)]
    rows = zip(first["image_id"].astype(str), first["label"].astype(int).tolist(), boxes, first["corners"], strict=True)
    return tuple(_restore(Sample(*row, size=size)) for row, size in zip(rows, published, strict=True)), sizes


def _restore(sample: Sample) -> Sample:
    """Return a sample with its boxes; a single row of NaN stands for none."""
    if len(sample.boxes) == 1 and np.isnan(sample.boxes).all():
        return replace(sample, boxes=as_boxes([]), empty=True)
    return sample


def read_dataset(folder: Path, record: DatasetRecord) -> tuple[Dataset, list[tuple[int, int]]]:
    """Read the images of a run, without their files and masks, and the sizes of their frames.

    Args:
        folder: The run folder.
        record: What its ``run.json`` says of the data set.

    Raises:
        ValueError: The two do not agree.
        InputError: No data set is like that.
    """
    samples, sizes = read_ground_truth(folder / "ground_truth.parquet")
    if record.n != len(samples) or record.split not in SPLITS:
        raise ValueError(f"ground_truth.parquet has {len(samples)} images, but run.json says otherwise")
    images = Dataset(record.name, record.split, samples, record.classes, record.origin, content=record.content)
    check_dataset(images)
    return images, sizes


def _find_problem(table: pd.DataFrame) -> str:
    """Return what no run writes, if anything; what ``check_dataset`` checks is left to it."""
    if not len(table):
        return "there is no image"
    sides = table[["width", "height"]].to_numpy()
    checks: dict[str, Any] = {
        "an image has no name": all(isinstance(name, str) for name in table["image_id"].unique()),
        "a label is not an integer": np.issubdtype(table["label"].to_numpy().dtype, np.integer),
        "a corner convention is unknown": set(table["corners"]) <= {*TO_EDGES},
        "a size is not the size of an image": np.issubdtype(sides.dtype, np.integer)
        and sides.min() > 0
        and sides.astype(np.float64).prod(1).max() <= MAX_PIXELS,
        "it does not say which sizes were published": table["published"].to_numpy().dtype == np.bool_,
    }
    return next((problem for problem, good in checks.items() if not good), "")
