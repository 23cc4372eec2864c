"""Comparisons whose messages give the expected and the found value."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from wsol.reports.terminal import fill_tau_rule
from wsol.selfchecks.outcome import CheckFailed

_MAX_ROW = 8  # numbers of a row that are shown together


def assert_equal(found: object, expected: object, what: str = "") -> None:
    """Compare strings, numbers or lists of them.

    Args:
        found: The value of this installation.
        expected: The right value.
        what: Name of the value, for the message.

    Raises:
        CheckFailed: The values differ.
    """
    if found != expected:
        raise CheckFailed(f"expected {_prefix(what)}{expected}, found {found}")


def assert_close(found: ArrayLike, expected: ArrayLike, within: float = 0.0, what: str = "") -> None:
    """Compare arrays of numbers.

    Args:
        found: The values of this installation.
        expected: The right values, of the same shape or broadcast to it.
        within: Largest absolute difference allowed; NaN is always wrong.
        what: Name of the values, for the message.

    Raises:
        CheckFailed: The shapes do not match, or a difference is larger; the message gives the position of the largest.
    """
    ours = np.asarray(found, np.float64)
    try:
        right = np.broadcast_to(np.asarray(expected, np.float64), ours.shape)
    except ValueError as error:
        raise CheckFailed(f"expected {_prefix(what)}of shape {np.shape(expected)}, found {ours.shape}") from error
    difference = np.nan_to_num(np.abs(ours - right), nan=np.inf)
    if not (difference > within).any():
        return
    place = np.unravel_index(int(difference.argmax()), difference.shape)
    shown = place[:-1] if ours.ndim and ours.shape[-1] <= _MAX_ROW else place
    at = f" at {tuple(map(int, shown))}" if shown else ""
    raise CheckFailed(f"expected {_prefix(what)}{_format(right[shown])}, found {_format(ours[shown])}{at}")


def index_metrics(metrics: pd.DataFrame) -> dict[tuple[str, str], tuple[float, float]]:
    """Return value and tau by metric and threshold rule; the rule is empty if no threshold is used."""
    rows = fill_tau_rule(metrics)
    names = zip(rows["metric"], rows["tau_rule"], strict=True)
    return dict(zip(names, zip(rows["value"], rows["tau"], strict=True), strict=True))


def _prefix(what: str) -> str:
    return f"{what} " if what else ""


def _format(values: Any) -> str:
    return " ".join(f"{value:.7g}" for value in np.ravel(values))
