"""The log of a training: a CSV file and a plot."""

import csv
import math
from pathlib import Path

from tqdm import tqdm

from wsol.errors import InputError
from wsol.io.atomic import atomic_write

_HOW_TO_FIX = "restore it, or delete it and state.safetensors to start again"


class Log:
    """The log of a training, with one row per epoch.

    Args:
        folder: Folder of ``log.csv`` and ``log.png``.
        epochs: Number of finished epochs; rows of later epochs, which an interruption left, are dropped.

    Raises:
        InputError: ``log.csv`` is missing, damaged or too short.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        self._folder = folder
        path = folder / "log.csv"
        self._rows: list[dict[str, float]] = []
        if epochs:
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    rows = [{key: _parse_number(text) for key, text in row.items()} for row in csv.DictReader(file)]
            except (OSError, ValueError, TypeError) as error:
                raise InputError(f"{path} cannot be read ({error}); {_HOW_TO_FIX}") from error
            if len(rows) < epochs:
                raise InputError(f"{path} has {len(rows)} epochs, but state.safetensors has {epochs}; {_HOW_TO_FIX}")
            self._rows = rows[:epochs]

    def add_row(self, row: dict[str, float], speed: float) -> None:
        """Write the row of an epoch to the file, and to the terminal with its speed in images per second."""
        self._rows.append(row)
        with atomic_write(self._folder / "log.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
        tqdm.write("  ".join([*(f"{key} {value:.4g}" for key, value in row.items()), f"{speed:.1f} images/s"]))

    @property
    def rows(self) -> tuple[dict[str, float], ...]:
        """The rows of all epochs."""
        return tuple(self._rows)

    def plot(self) -> None:
        """Write a plot of loss and errors over the epochs."""
        from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

        epochs = self._column("epoch")
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(epochs, self._column("train_loss"), color="C0")
        left.set(xlabel="epoch", ylabel="training cross-entropy")
        for column, label in (("train_err", "train, augmented"), ("val_err", "val")):
            if any(column in row for row in self._rows):
                right.plot(epochs, self._column(column), label=label)
        right.set(xlabel="epoch", ylabel="top-1 classification error, %")
        right.legend(loc="lower left")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(0, 1.15 * max(axes.dataLim.y1, 1e-3))  # with room for the sizes above the curves
        sizes = self._column("image_size")
        for size in sorted(set(sizes)):
            first = epochs[sizes.index(size)]
            right.axvline(first, color="0.8", zorder=0)
            right.annotate(f"{size} px", (first, right.get_ylim()[1]), va="top", color="0.4")
        with atomic_write(self._folder / "log.png") as path:
            figure.savefig(path, dpi=150, format="png")

    def _column(self, name: str) -> list[float]:
        return [row.get(name, math.nan) for row in self._rows]


def _parse_number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)
