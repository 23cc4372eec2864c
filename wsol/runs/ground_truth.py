"""The ground truth that a run was held against, so that it can be scored again without the data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsol.datasets import SPLITS, Dataset, Sample, check_dataset
from wsol.datasets.base import MAX_PIXELS, TO_EDGES
from wsol.io.arrays import read_parquet

_COLUMNS = ["image_id", "label", "corners", "x0", "y0", "x1", "y1", "width", "height", "published"]


def ground_truth_table(samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """Lay published boxes out, one row a box.

    Args:
        samples: The images.
        sizes: ``(width, height)`` of the frame of each one's boxes.

    Returns:
        image_id, label, corners, x0, y0, x1, y1, width, height, published: whether the annotation names that size.
    """
    rows = [
        (s.image_id, s.label, s.corners, *box, *size, s.size is not None)
        for s, size in zip(samples, sizes, strict=True)
        for box in s.boxes.tolist()
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def read_ground_truth(path: Path) -> tuple[tuple[Sample, ...], list[tuple[int, int]]]:
    """Read the samples back, in their order, without images and masks, and the sizes.

    Raises:
        ValueError: It is not what ``truth_table`` makes. Damaged files raise what pyarrow makes of them.
    """
    table = read_parquet(path, _COLUMNS)
    if wrong := _wrong(table):
        raise ValueError(f"{path.name}: {wrong}")
    ids = table["image_id"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    boxes = np.split(table[["x0", "y0", "x1", "y1"]].to_numpy(np.float64), starts[1:])
    first = table.iloc[starts]
    sizes = [*zip(first["width"].astype(int).tolist(), first["height"].astype(int).tolist(), strict=True)]
    named = [size if known else None for size, known in zip(sizes, first["published"], strict=True)]
    facts = zip(
        first["image_id"].astype(str), first["label"].astype(int).tolist(), boxes, first["corners"], strict=True
    )
    samples = (Sample(*fact, size=size) for fact, size in zip(facts, named, strict=True))
    return tuple(samples), sizes


def read_dataset(folder: Path, facts: Mapping[str, Any]) -> tuple[Dataset, list[tuple[int, int]]]:
    """Read the images of a run back, without their files and masks, and the sizes of their frames.

    Args:
        folder: Of the run.
        facts: What its ``run.json`` says of the data set.

    Raises:
        ValueError: They do not fit each other.
        InputError: No data set is like that.
    """
    samples, sizes = read_ground_truth(folder / "truth.parquet")
    if facts["n"] != len(samples) or facts["split"] not in SPLITS:
        raise ValueError(f"truth.parquet holds {len(samples)} images, and run.json says otherwise")
    images = Dataset(facts["name"], facts["split"], samples, tuple(facts["classes"]), facts["origin"])
    check_dataset(images)
    return images, sizes


def _wrong(table: pd.DataFrame) -> str:
    """Return what no run writes, if anything; what ``check`` looks at is left to it."""
    if not len(table):
        return "there is no image"
    sides = table[["width", "height"]].to_numpy()
    checks: dict[str, Any] = {
        "an image has no name": all(isinstance(name, str) for name in table["image_id"].unique()),
        "a label is no whole number": np.issubdtype(table["label"].to_numpy().dtype, np.integer),
        "its corners are of no kind": set(table["corners"]) <= {*TO_EDGES},
        "a size is no size of an image": np.issubdtype(sides.dtype, np.integer)
        and sides.min() > 0
        and sides.astype(np.float64).prod(1).max() <= MAX_PIXELS,
        "it does not say which sizes were published": table["published"].to_numpy().dtype == np.bool_,
    }
    return next((phrase for phrase, good in checks.items() if not good), "")
