"""Text that data may have brought along, shown in one line: file names and class names may hold anything."""

import re
import unicodedata

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, the other line breaks of Unicode, and halves of surrogate pairs, which no file can hold."""

_MAX_SHOWN = 1200
_MAX_QUOTED = 120


def printable(text: object, limit: int = _MAX_SHOWN) -> str:
    r"""Return a name, path or message as one line: runs of white space become a space, the rest is escaped (``\x1b``).

    Args:
        text: Converted to a string; NFC-normalized.
        limit: Characters after which the text is cut.
    """
    whole = str(text)
    cut = unicodedata.normalize("NFC", whole[:limit])
    escaped = (c if c.isprintable() else " " if c.isspace() else _escape(c) for c in cut)
    return " ".join("".join(escaped).split()) + ("..." if len(whole) > limit else "")


def quote(text: str) -> str:
    """Return a field or line in quotes, cut after 120 characters."""
    return repr(text) if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]!r}..."


def escape_unprintable(text: str) -> str:
    r"""Return text in one line, every character that does not print (line breaks, bidi marks) escaped as ``\n``."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
