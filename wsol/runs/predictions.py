"""The table of guesses: one row an image and rank."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.datasets import Sample


def predictions_table(
    samples: Sequence[Sample],
    classes: NDArray[np.int64],
    scores: NDArray[np.float32],
    tau: float,
    boxes: NDArray[np.float64],
    ious: NDArray[np.float64],
    errors: NDArray[np.str_],
) -> pd.DataFrame:
    """Lays guesses out by image and rank.

    Args:
        samples: The ``n`` images.
        classes: int64 ``(n, k)``; rank 0 is the ground-truth class, 1 and on the predictions.
        scores: float32 ``(n, k)``, softmax probabilities.
        tau: The threshold of all boxes.
        boxes: ``(n, k, 4)``, half-open pixel edges in the protocol's frame.
        ious: ``(n, k)``, with the best ground-truth box.
        errors: str ``(n, k)``, the error type of each guess.

    Returns:
        image_id, label, rank, class_id, score, tau, x0, y0, x1, y1, iou, error.
    """
    n, k = classes.shape
    columns = {
        "image_id": np.repeat([s.image_id for s in samples], k),
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
