"""wsol: the evaluation benchmark for weakly supervised object localization."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["InputError", "__version__", "evaluate", "score", "train"]

if TYPE_CHECKING:
    from wsol.errors import InputError
    from wsol.pipeline import evaluate
    from wsol.scoring import score
    from wsol.training import train


def __getattr__(name: str) -> Any:
    """Imports the public names on first use, so that ``import wsol`` does not load torch."""
    if name == "evaluate":
        from wsol.pipeline import evaluate  # noqa: PLC0415

        return evaluate
    if name == "score":
        from wsol.scoring import score  # noqa: PLC0415

        return score
    if name == "train":
        from wsol.training import train  # noqa: PLC0415

        return train
    if name == "InputError":
        from wsol.errors import InputError  # noqa: PLC0415

        return InputError
    raise AttributeError(f"module 'wsol' has no attribute {name!r}")
