"""Comparisons that say what was expected and what was found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from wsol.reports.terminal import fill_tau_rule

_SHOWN = 8  # numbers of a row that are shown together


def assert_equal(found: object, expected: object, what: str = "") -> None:
    """Compare texts, numbers or lists of them.

    Args:
        found: By this installation.
        expected: The right one.
        what: What it is, for the message.

    Raises:
        Wrong: They differ.
    """
    if found != expected:
        raise CheckFailed(f"expected {_named(what)}{expected}, found {found}")


def assert_close(found: ArrayLike, expected: ArrayLike, within: float = 0.0, what: str = "") -> None:
    """Compare arrays of numbers.

    Args:
        found: By this installation.
        expected: The right ones, of the same shape or one that is broadcast to it.
        within: Largest absolute difference that is right; NaN never is.
        what: What it is, for the message.

    Raises:
        Wrong: The shapes do not fit or a number differs by more; the message has the place where they differ most.
    """
    ours = np.asarray(found, np.float64)
    try:
        right = np.broadcast_to(np.asarray(expected, np.float64), ours.shape)
    except ValueError as error:
        raise CheckFailed(f"expected {_named(what)}of shape {np.shape(expected)}, found {ours.shape}") from error
    off = np.nan_to_num(np.abs(ours - right), nan=np.inf)
    if not (off > within).any():
        return
    place = np.unravel_index(int(off.argmax()), off.shape)
    shown = place[:-1] if ours.ndim and ours.shape[-1] <= _SHOWN else place
    at = f" at {tuple(map(int, shown))}" if shown else ""
    raise CheckFailed(f"expected {_named(what)}{_text(right[shown])}, found {_text(ours[shown])}{at}")


def by_name(metrics: pd.DataFrame) -> dict[tuple[str, str], tuple[float, float]]:
    """Return value and tau of a table of metrics by metric and rule; the rule is empty where no threshold enters."""
    rows = fill_tau_rule(metrics)
    names = zip(rows["metric"], rows["tau_rule"], strict=True)
    return dict(zip(names, zip(rows["value"], rows["tau"], strict=True), strict=True))


def _named(what: str) -> str:
    return f"{what} " if what else ""


def _text(values: Any) -> str:
    return " ".join(f"{value:.7g}" for value in np.ravel(values))


Check = Callable[[], str | None]
"""Raises ``Wrong`` where a number is wrong; may return what else there is to say."""

Checks = Mapping[str, Check]
"""The checks of a module by title."""


class CheckFailed(Exception):  # noqa: N818  # not an error of the program: what a check is there to say
    """A number is not as expected; the message says ``expected ..., found ...``."""


@dataclass(frozen=True)
class Outcome:
    """What one check came to.

    Attributes:
        title: What was checked.
        seconds: How long it took.
        wrong: What was expected and what was found; None if all is right.
        remark: What else there is to say.
    """

    title: str
    seconds: float
    wrong: str | None = None
    remark: str | None = None
