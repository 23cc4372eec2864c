"""One-line display of text from data: file names and class names may contain any character."""

import re
import unicodedata
from collections.abc import Sequence

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, the other line breaks of Unicode, and lone surrogates, which no UTF-8 file can hold."""

_MAX_LENGTH = 1200
_MAX_QUOTED_LENGTH = 120
_MAX_NAMED = 5


def printable(text: object, limit: int = _MAX_LENGTH) -> str:
    r"""Return a name, path or message as one line: white space becomes one space, the rest is escaped (``\x1b``).

    Args:
        text: Converted to a string; NFC-normalized.
        limit: Characters after which the text is cut.
    """
    full = str(text)
    if full.isascii() and full.isprintable() and len(full) <= limit:  # nearly always, and faster
        return " ".join(full.split())
    cut = unicodedata.normalize("NFC", full[:limit])
    escaped = (c if c.isprintable() else " " if c.isspace() else _escape(c) for c in cut)
    return " ".join("".join(escaped).split()) + ("..." if len(full) > limit else "")


def quote(text: str) -> str:
    """Return a field or line in quotes, cut after 120 characters."""
    return repr(text) if len(text) <= _MAX_QUOTED_LENGTH else f"{text[:_MAX_QUOTED_LENGTH]!r}..."


def escape_unprintable(text: str) -> str:
    r"""Return text as one line, with every unprintable character (line breaks, bidi marks) escaped as ``\n``."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def list_first(names: Sequence[str]) -> str:
    """Return the first five names and the number of the others: ``a, b, c, d, e and 3 more``."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
