"""Recognition of a training that diverges."""

from collections.abc import Mapping, Sequence

from wsol.errors import InputError
from wsol.training.recipe import Recipe

_MARGIN = 1.25
_EPOCHS = 2


class DivergedError(InputError):
    """The loss of a training grows or is not finite."""


def check_growth(rows: Sequence[Mapping[str, float]], recipe: Recipe, chance: float) -> None:
    """Check that the loss does not grow from epoch to epoch.

    It grows if two epochs in a row, or the last one of a stage, have a loss that is above that of the stage's first
    epoch and 25 % above the loss of guessing without the image.

    Args:
        rows: Rows of the log, up to the epoch to be checked.
        recipe: The recipe.
        chance: The loss of guessing: for the cross-entropy, the logarithm of the number of classes.

    Raises:
        DivergedError: The loss grows.
    """
    begin = 0
    for stage in recipe.stages:
        losses = [row["train_loss"] for row in rows[begin : begin + stage.epochs]]
        if len(rows) <= begin + stage.epochs:
            break
        begin += stage.epochs
    grown = [loss > max(losses[0], _MARGIN * chance) for loss in losses]
    if all(grown[-_EPOCHS:]) if len(losses) < stage.epochs else grown[-1]:
        raise DivergedError(
            f"the loss grew from {losses[0]:.4g} in epoch {begin + 1} to {losses[-1]:.4g} in epoch {len(rows)}, where "
            f"guessing has {chance:.4g}; give a --learning-rate below {recipe.learning_rate:g}"
        )
