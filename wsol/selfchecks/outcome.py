"""The interface of a check and its outcome; imports no other package, as any of them may be broken."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Check = Callable[[], str | None]
"""Raises ``CheckFailed`` if a number is wrong, ``CheckSkipped`` if there is none; may return a remark."""

Checks = Mapping[str, Check]
"""The checks of a module by title."""


class CheckFailed(Exception):  # noqa: N818  # not an error of the program but the result of a check
    """A number is wrong; the message is ``expected ..., found ...``."""


class CheckSkipped(Exception):  # noqa: N818  # likewise
    """Nothing could be checked here; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a check.

    Attributes:
        title: Title of the check.
        seconds: Duration.
        failure: The expected and the found value; None if the check passed.
        remark: Remark of a check that passed, or None.
        skipped: Why nothing was checked, or None.
    """

    title: str
    seconds: float
    failure: str | None = None
    remark: str | None = None
    skipped: str | None = None
