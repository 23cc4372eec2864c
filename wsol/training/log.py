"""What a training leaves to look at: a CSV file and a picture."""

import csv
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from wsol.errors import InputError
from wsol.io.atomic import atomic_write

_MEND = "restore it, or delete it and state.safetensors to begin again"


class Log:
    """One row an epoch.

    Args:
        folder: Gets ``log.csv`` and ``log.png``.
        done: Epochs that are done; rows of later ones, which an interruption left, are dropped.

    Raises:
        InputError: The rows of the epochs that are done are not there.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._folder = folder
        path = folder / "log.csv"
        self._rows: list[dict[str, float]] = []
        if done:
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    rows = [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]
            except (OSError, ValueError, TypeError) as error:
                raise InputError(f"{path} cannot be read ({error}); {_MEND}") from error
            if len(rows) < done:
                raise InputError(f"{path} has {len(rows)} epochs, the state beside it {done}; {_MEND}")
            self._rows = rows[:done]

    def write(self, row: dict[str, float]) -> None:
        """Add an epoch."""
        self._rows.append(row)
        with atomic_write(self._folder / "log.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
        tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in row.items()))

    def last(self) -> dict[str, float]:
        """Return the row of the last epoch."""
        return self._rows[-1]

    def plot(self) -> None:
        """Draw loss and errors over the epochs."""
        from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import

        rows = pd.DataFrame(self._rows)
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(rows["epoch"], rows["train_loss"], color="C0")
        left.set(xlabel="epoch", ylabel="cross entropy, train", ylim=(0, None))
        for column, label in (("train_err", "train, augmented"), ("val_err", "val")):
            if column in rows:
                right.plot(rows["epoch"], rows[column], label=label)
        right.set(xlabel="epoch", ylabel="top-1 classification error, %", ylim=(0, None))
        right.legend()
        for size, first in rows.groupby("image_size")["epoch"].min().items():
            right.axvline(first, color="0.8", zorder=0)
            right.annotate(f"{size} px", (first, right.get_ylim()[1]), va="top", color="0.4")
        with atomic_write(self._folder / "log.png") as part:
            figure.savefig(part, dpi=150, format="png")


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)
