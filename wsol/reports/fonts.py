"""Strings in figures and on terminals: truncation, and fonts for any characters in file and class names."""

from collections.abc import Callable, Iterable, Iterator

from matplotlib import font_manager, get_data_path
from matplotlib.font_manager import get_font

from wsol.io.display import printable

_FONT = "DejaVu Sans"
_MAX_LENGTH = 400  # characters of a name in a figure


def truncate_to_width(text: str, room: float, width: Callable[[str], float], tail: int = 0) -> str:
    """Truncate a string until it fits.

    Args:
        text: One line.
        room: Available width, in any unit.
        width: Measures a string.
        tail: Number of characters kept at the end, after the ellipsis.

    Returns:
        The string, or as much of it as fits with an ellipsis; at least the ellipsis.
    """
    if width(text) <= room:
        return text
    end = text[len(text) - tail :]
    short, long = 0, max(0, len(text) - tail - 1)  # a head that fits, and the longest possible one
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
    """Fonts for the characters of some strings: DejaVu Sans, which Matplotlib bundles, then installed fonts.

    Args:
        texts: All strings that will be written.

    Attributes:
        families: Names of the fonts, for Matplotlib.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        missing = {c for text in texts for c in printable(text, _MAX_LENGTH)}
        self.families: list[str] = []
        for family, path in _fonts():
            covered = {c for c in missing if get_font(path).get_char_index(ord(c))}
            if covered or not self.families:
                self.families.append(family)
            missing -= covered
            if not missing:
                break
        self._missing = missing

    def escape(self, text: str) -> str:
        r"""Return a string as one line, in which characters that no font has are escaped, as in ``\u732b``."""
        return "".join(_escape(c) if c in self._missing else c for c in printable(text, _MAX_LENGTH))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _fonts() -> Iterator[tuple[str, str]]:
    """Yield family and file of each upright font: the bundled one, then the installed ones."""
    yield _FONT, font_manager.findfont(_FONT)
    bundled = get_data_path()  # its other fonts are for formulas
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        is_regular = entry.style == "normal" and entry.weight in (400, "normal", "regular")
        if is_regular and not entry.fname.startswith(bundled):
            yield entry.name, entry.fname
