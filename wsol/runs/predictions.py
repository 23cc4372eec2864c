"""The table of predictions, ``predictions.parquet``: one row per image and rank."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.io.arrays import read_parquet

_COLUMNS = ["image_id", "label", "rank", "class_id", "score", "tau", "x0", "y0", "x1", "y1", "iou", "error"]


def predictions_table(
    samples: Sequence[Sample],
    classes: NDArray[np.int64],
    scores: NDArray[np.float32],
    tau: float,
    boxes: NDArray[np.float64],
    ious: NDArray[np.float64],
    errors: NDArray[np.object_],
) -> pd.DataFrame:
    """Return predictions by image and rank.

    Args:
        samples: The ``n`` images.
        classes: int64 ``(n, k)``; rank 0 is the ground-truth class, ranks from 1 are the predictions.
        scores: float32 ``(n, k)``, softmax probabilities.
        tau: The threshold of all boxes.
        boxes: ``(n, k, 4)``, half-open pixel edges in the protocol's frame.
        ious: ``(n, k)``, IoU with the best ground-truth box.
        errors: str ``(n, k)``, the error type of each prediction.

    Returns:
        image_id, label, rank, class_id, score, tau, x0, y0, x1, y1, iou, error.
    """
    n, k = classes.shape
    columns = {
        "image_id": np.repeat(np.array([s.image_id for s in samples], object), k),
        "label": np.repeat([s.label for s in samples], k),
        "rank": np.tile(np.arange(k), n),
        "class_id": classes.ravel(),
        "score": scores.ravel(),
        "tau": np.full(n * k, tau),
        **dict(zip(("x0", "y0", "x1", "y1"), boxes.reshape(-1, 4).T, strict=True)),
        "iou": ious.ravel(),
        "error": errors.ravel(),
    }
    return pd.DataFrame(columns)


def read_predictions(path: Path, samples: Sequence[Sample]) -> pd.DataFrame:
    """Read the table of predictions.

    Args:
        path: The file.
        samples: The images that it should have.

    Raises:
        ValueError: It is not what ``predictions_table`` returns. Damaged files raise whatever pyarrow raises.
    """
    table = read_parquet(path, _COLUMNS)
    n = len(samples)
    k = len(table) // n
    numbers = table[["score", "x0", "y0", "x1", "y1", "iou"]].to_numpy(np.float64)
    if (
        not k
        or len(table) != n * k
        or [*table["image_id"]] != [s.image_id for s in samples for _ in range(k)]
        or table["label"].tolist() != [s.label for s in samples for _ in range(k)]
        or table["rank"].tolist() != [*range(k)] * n
        or not np.issubdtype(table["class_id"].to_numpy().dtype, np.integer)
        or np.isinf(numbers).any()
        or not all(isinstance(error, str) for error in table["error"].unique())
    ):
        raise ValueError(f"{path.name} does not hold predictions for these images")
    return table


def prediction_arrays(
    table: pd.DataFrame, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Return classes ``(n, k)``, scores ``(n, k)`` and boxes ``(n, k, 4)`` of the table of ``n`` images.

    Raises:
        ValueError: It has another number of images.
    """
    classes = table["class_id"].to_numpy(np.int64).reshape(n, -1)
    scores = table["score"].to_numpy(np.float32).reshape(n, -1)
    return classes, scores, table[["x0", "y0", "x1", "y1"]].to_numpy(np.float64).reshape(n, -1, 4)
