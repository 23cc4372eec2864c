"""Trainings and evaluations that take no time: the value of a trial follows from its learning rate and its seed."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
import pytest

from wsol.evaluation.config import EvalConfig
from wsol.evaluation.plan import Choice
from wsol.reports.canvas import PngFigure
from wsol.searches import plan, tables, trials
from wsol.training import Recipe
from wsol.training.checkpoint import STATE_FILE
from wsol.training.divergence import DivergedError
from wsol.training.methods import TRAIN_METHODS, TrainMethod

LIMIT = 0.5
"""Learning rate above which a training diverges."""


@dataclass(frozen=True)
class Blur(TrainMethod):
    """A training method with settings."""

    name: ClassVar[str] = "blur"
    grid: int = 4
    rate: float = 0.5


def value_of(rate: float, seed: int, split: str) -> float:
    """Return the value of a trial, in percent; the best on val is the worst on test."""
    on_val = 100 * rate / LIMIT
    return on_val if split == "val" else 100 - on_val + seed


class Stubs:
    """Replaces training and evaluation.

    Args:
        patch: Undoes it.
        figure: Whether to draw the figure.

    Attributes:
        trained: Folders of the trainings that were started, in order.
        evaluated: Options of the evaluations, in order.
        compared: Run folders of the comparisons by method, and the folder, in order.
    """

    def __init__(self, patch: pytest.MonkeyPatch, figure: bool = False) -> None:
        self.trained: list[Path] = []
        self.evaluated: list[EvalConfig] = []
        self.choices: list[Choice | None] = []
        self.compared: list[tuple[dict[str, list[Path]], Path]] = []
        patch.setitem(TRAIN_METHODS._entries, "blur", Blur())
        patch.setitem(TRAIN_METHODS._sources, "blur", __name__)
        patch.setattr(trials, "train", self.train)
        patch.setattr(trials, "run", self.run)
        patch.setattr(trials, "free_memory", lambda compiled: None)  # takes longer than all else,
        patch.setattr("os.fsync", lambda descriptor: None)  # and so do these two
        if not figure:
            patch.setattr(sys.modules["wsol.searches.search"], "trials_figure", lambda *given: PngFigure((1, 1)))
        patch.setattr(sys.modules["wsol.searches.search"], "compare_methods", self.compare)
        patch.setattr(tables, "Evaluation", SimpleNamespace(read=self.read))
        patch.setattr(plan, "_check_network", lambda config, task: None)

    def train(self, model: str, *, recipe: Recipe, train_method: TrainMethod, out: Path, **more: Any) -> Path:
        self.trained.append(out.parent)
        out.mkdir(exist_ok=True)
        (out / STATE_FILE).touch()
        if recipe.learning_rate > LIMIT:
            raise DivergedError("the loss grew")
        facts = {"rate": recipe.learning_rate, "seed": recipe.seed, "method": train_method.signature}
        path = out / f"{model}.safetensors"
        path.write_text(json.dumps(facts))
        return path

    def run(self, config: EvalConfig, choice: Choice | None = None) -> Any:
        self.evaluated.append(config)
        self.choices.append(choice)
        facts = json.loads(Path(config.weights).read_text())
        Path(config.out).mkdir(exist_ok=True)
        value = value_of(facts["rate"], facts["seed"], config.split)
        rows = [
            ["max_box_acc_v2", "oracle", value, value - 5, value + 5],
            ["gt_known_loc_acc", "val", 50.0, 40.0, 60.0],
        ]
        table = pd.DataFrame(rows, columns=["metric", "tau_rule", "value", "ci_low", "ci_high"])
        table.to_csv(Path(config.out) / "metrics.csv", index=False)
        metadata = SimpleNamespace(tau=SimpleNamespace(value=0.25))
        return SimpleNamespace(metrics=table, metadata=metadata, signature=f"{config.split}|{facts['method']}")

    def compare(self, runs: dict[str, list[Path]], folder: Path) -> str:
        self.compared.append((runs, folder))
        return f"comparison of {', '.join(runs)}"

    def read(self, folder: Path) -> Any:
        return SimpleNamespace(metrics=pd.read_csv(folder / "metrics.csv"))
