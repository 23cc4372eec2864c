"""Files of settings in TOML: reading one, and checking its keys and the types of its values."""

import difflib
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wsol.errors import InputError
from wsol.evaluation.config import Option

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """The values that a key may hold.

    Attributes:
        kinds: Types of its value.
        expects: What the file should hold, for messages.
        choices: The strings that it takes; empty for any.
    """

    kinds: Any = str
    expects: str = "a string"
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, option: Option) -> "Kind":
        """Return what an option of ``wsol.evaluate`` may hold."""
        return cls(option.kinds, option.expects, option.choices)

    def fits(self, value: Any) -> bool:
        """Return whether a value from a TOML file has the right type."""
        if not isinstance(value, self.kinds) or isinstance(value, bool) != (self.kinds is bool):
            return False
        if isinstance(value, str):
            return not self.choices or value in self.choices
        return not isinstance(value, dict) or all(type(each) in (str, int, float) for each in value.values())


def read_settings(path: Path, kind: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """Read a TOML file.

    Args:
        path: The file.
        kind: What it is, for messages: ``suite``.
        parse: Makes the result from the table; its errors are named with the file.

    Raises:
        InputError: The file is missing, is a folder or no TOML file, or ``parse`` refuses it.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a {kind} file in TOML")
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"there is no {kind} file {path}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no TOML file: {error}") from error


def check_key(key: str, known: Collection[str], place: str = "") -> None:
    """Check that a key is known.

    Args:
        key: The key.
        known: The known ones.
        place: Where the key is, for the message.

    Raises:
        InputError: It is not; the message suggests similar ones.
    """
    if key not in known:
        close = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        raise InputError(f"{place}unknown key {key!r}; {hint}")


def check_values(table: Mapping[str, Any], kinds: Mapping[str, Kind], place: str = "") -> None:
    """Check that keys are known and that values have the right type.

    Args:
        table: The table.
        kinds: What each key may hold.
        place: Where the table is, for the message.

    Raises:
        InputError: A key is unknown, or a value has another type.
    """
    for key, value in table.items():
        check_key(key, kinds, place)
        if not kinds[key].fits(value):
            raise InputError(f"{place}{key} is {value!r}; give {kinds[key].expects}")
