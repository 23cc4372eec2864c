"""wsol: the evaluation benchmark for weakly supervised object localization."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "LocalizationMetric",
    "__version__",
    "compare",
    "evaluate",
    "leaderboard",
    "score",
    "search",
    "select",
    "show",
    "train",
]

if TYPE_CHECKING:
    from wsol.comparison.compare import compare
    from wsol.errors import InputError
    from wsol.evaluation.evaluate import evaluate
    from wsol.evaluation.localization_metric import LocalizationMetric
    from wsol.evaluation.score import score
    from wsol.evaluation.selection import select
    from wsol.leaderboards import leaderboard
    from wsol.searches.search import search
    from wsol.training.train import train
    from wsol.visualization.show import show

_HOMES = {
    "InputError": "errors",
    "LocalizationMetric": "evaluation.localization_metric",
    "compare": "comparison.compare",
    "evaluate": "evaluation.evaluate",
    "leaderboard": "leaderboards",
    "score": "evaluation.score",
    "search": "searches",
    "select": "evaluation.selection",
    "show": "visualization.show",
    "train": "training",
}


class _Package(ModuleType):
    """The package itself: importing the command ``wsol.score`` does not hide the function ``wsol.score``."""

    def __getattr__(self, name: str) -> Any:
        """Import the public names on first use, so that ``import wsol`` does not load torch."""
        if name not in _HOMES:
            raise AttributeError(f"module 'wsol' has no attribute {name!r}")
        return getattr(importlib.import_module(f"wsol.{_HOMES[name]}"), name)

    def __dir__(self) -> list[str]:
        """List the public names alone."""
        return [*__all__]

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
