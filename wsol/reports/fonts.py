"""Names as text in a picture or on a terminal: file names and class names are data and may hold anything."""

from collections.abc import Callable, Iterable, Iterator

from matplotlib import font_manager, get_data_path
from matplotlib.font_manager import get_font

from wsol.io.display import printable

_FONT = "DejaVu Sans"
_LONGEST = 400  # characters of a name in a picture


def truncate_to_width(text: str, room: float, width: Callable[[str], float], tail: int = 0) -> str:
    """Shorten a text until it fits.

    Args:
        text: One line.
        room: The width that there is, in whatever unit.
        width: Measures a text.
        tail: Characters that stay at the end, behind the dots.

    Returns:
        The text, or as much of it as fits with dots in the place of the rest; never less than the dots.
    """
    if width(text) <= room:
        return text
    end = text[len(text) - tail :]
    short, long = 0, max(0, len(text) - tail - 1)  # the head that fits, and the longest that there is
    while short < long:
        middle = (short + long + 1) // 2
        if width(f"{text[:middle].rstrip()}…{end}") <= room:
            short = middle
        else:
            long = middle - 1
    if not short and tail:
        return truncate_to_width(text, room, width)
    return f"{text[:short].rstrip()}…{end}"


class FontFallback:
    """Fonts that have the characters of some texts: DejaVu Sans, which Matplotlib brings, then what is installed.

    Args:
        texts: All that is to be written.

    Attributes:
        families: Names of the fonts, for Matplotlib.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        lacking = {c for text in texts for c in printable(text, _LONGEST)}
        self.families: list[str] = []
        for family, path in _fonts():
            has = {c for c in lacking if get_font(path).get_char_index(ord(c))}
            if has or not self.families:
                self.families.append(family)
            lacking -= has
            if not lacking:
                break
        self._lacking = lacking

    def __call__(self, text: str) -> str:
        r"""Return a text in one line; characters that no font has become their escape, ``\u732b``."""
        return "".join(_escape(c) if c in self._lacking else c for c in printable(text, _LONGEST))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _fonts() -> Iterator[tuple[str, str]]:
    """Yield family and file of each upright font: the one that is always there, then what the machine has."""
    yield _FONT, font_manager.findfont(_FONT)
    own = get_data_path()  # the others there are for formulas
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        if entry.style == "normal" and entry.weight in (400, "normal", "regular") and not entry.fname.startswith(own):
            yield entry.name, entry.fname
