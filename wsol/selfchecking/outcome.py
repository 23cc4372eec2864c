"""What a check comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Check = Callable[[], str | None]
"""Raises ``Wrong`` where a number is wrong; may return what else there is to say."""

Checks = Mapping[str, Check]
"""The checks of a module by title."""


class Wrong(Exception):  # noqa: N818  # not an error of the program: what a check is there to say
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
