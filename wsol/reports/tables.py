"""Tables as Markdown, LaTeX and plain text; whatever a cell holds, it shows as text."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from wsol.io.display import escape_unprintable

PREAMBLE = r"\providecommand{\wsolchar}[2]{\ifdefined\Umathchar#1\else\texttt{U+#2}\fi}"
"""What LaTeX needs before ``latex_text``: a sign that pdfLaTeX has no glyph for is named by its number there."""

_LONG = 40  # characters from which on a cell is broken into lines in LaTeX
_TITLE = 12  # characters from which on the name of a column of numbers is
_WORD = 24  # characters from which on a word is
_MARKDOWN = {sign: f"&#{ord(sign)};" for sign in "\\<>&$"} | {sign: f"\\{sign}" for sign in "|`*_~]"}
_PLAIN = re.compile(r"(?<=[^\W_])_(?=[^\W_])|\](?![(\[:])")  # means nothing in Markdown there
_LATEX = {sign: f"\\{sign}" for sign in "{}$&%#_"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    '"': r"\char34{}",  # babel makes the sign itself active in some languages
    "-": "-{}",  # two would become a dash
    "[": "{[}",  # behind a line's end it would be an argument
    "]": "{]}",
    "*": "{*}",
    ",": ",{}",  # two would become a quotation mark
    "?": "?{}",  # with a grave accent behind it, a Spanish one
    "!": "!{}",
}
_LETTERS = ("ss", "ae", "AE", "oe", "OE", "o", "O", "l", "L", "S", "dag")
_LATEX |= {sign: rf"\{name}{{}}" for sign, name in zip("ßæÆœŒøØłŁ§†", _LETTERS, strict=True)}
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)


@dataclass(frozen=True)
class Cell:
    """One field of a table.

    Attributes:
        text: What it says; any text.
        detail: What stands behind it, smaller.
        bold: Whether the text is set in bold.
    """

    text: str
    detail: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """What is laid out.

    Attributes:
        header: Names of the columns; what follows a comma stands in a further line, on the terminal.
        rows: As many cells each.
        words: Number of leading columns that hold words; all others are aligned right, as numbers are.
        parts: Places of the rows that a line is drawn above.
        remarks: Number of trailing columns that hold words again.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: int = 1
    parts: frozenset[int] = frozenset()
    remarks: int = 0

    def is_number(self, column: int) -> bool:
        """Return whether a column is aligned right."""
        return self.words <= column < len(self.header) - self.remarks


def markdown_text(text: str) -> str:
    """Return text so that Markdown (CommonMark, GitHub's tables) shows it as it is."""
    shown = escape_unprintable(text)
    free = {match.start() for match in _PLAIN.finditer(shown)}
    return "".join(sign if i in free else _MARKDOWN.get(sign, sign) for i, sign in enumerate(shown))


def latex_text(text: str) -> str:
    """Return text so that LaTeX (of 2020 or later, any engine) shows it as it is; long text may be broken anywhere."""
    shown = escape_unprintable(text)
    signs = [_LATEX.get(sign) or _glyph(sign) for sign in shown]
    if len(shown) <= _LONG:
        return "".join(signs)
    since = 0
    for i, sign in enumerate(shown):
        since = since + 1 if sign.isalnum() else _WORD
        if since == _WORD:
            signs[i] += r"\allowbreak{}"
            since = 0
    return "".join(signs)


def markdown_table(table: Table) -> str:
    """Lay a table out in GitHub's Markdown."""

    def show(cell: Cell) -> str:
        text = markdown_text(cell.text)
        return " ".join(filter(None, (f"**{text}**" if cell.bold else text, markdown_text(cell.detail))))

    marks = ["--:" if table.is_number(i) else "---" for i in range(len(table.header))]
    lines = [[markdown_text(name) for name in table.header], marks, *(list(map(show, row)) for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latex_table(table: Table) -> str:
    r"""Lay a table out as a ``tabular`` with the lines of the package booktabs."""

    def show(cell: Cell) -> str:
        text = latex_text(cell.text)
        if len(cell.text) > _LONG:
            return rf"\parbox[t]{{16em}}{{\raggedright {text}\strut}}"
        bold = rf"\textbf{{{text}}}" if cell.bold else text
        return rf"\shortstack[r]{{{bold}\\{{\tiny {latex_text(cell.detail)}}}}}" if cell.detail else bold

    def title(i: int, name: str) -> str:
        text = latex_text(name)
        return rf"\parbox[b]{{7em}}{{\raggedleft {text}}}" if table.is_number(i) and len(name) > _TITLE else text

    columns = ["r" if table.is_number(i) else "l" for i in range(len(table.header))]
    lines = [rf"\begin{{tabular}}{{{''.join(columns)}}}", r"\toprule"]
    lines += [f"{' & '.join(title(i, name) for i, name in enumerate(table.header))} \\\\", r"\midrule"]
    for i, row in enumerate(table.rows):
        end = r"\\[3pt]" if any(cell.detail for cell in row) else r"\\"
        lines += [r"\midrule"] * (i in table.parts) + [f"{' & '.join(map(show, row))} {end}"]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def plain_table(table: Table) -> str:
    """Lay a table out for the terminal; what is bold has an asterisk."""
    titles = [escape_unprintable(name).split(", ") for name in table.header]
    height = max(map(len, titles))
    lines = [*zip(*([""] * (height - len(title)) + title for title in titles), strict=True)]
    lines += [tuple(_plain(cell) for cell in row) for row in table.rows]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(_padded(text, widths[i], table.is_number(i)) for i, text in enumerate(line)).rstrip()
        for line in lines
    )


def _plain(cell: Cell) -> str:
    return escape_unprintable(" ".join(filter(None, (cell.text + "*" * cell.bold, cell.detail))))


def _glyph(sign: str) -> str:
    """Return what stands for a sign that LaTeX gives no meaning of its own: itself, its accent, or what names it."""
    if sign.isascii():
        return sign
    base, *marks = list(unicodedata.normalize("NFD", sign))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return rf"\wsolchar{{{sign}}}{{{ord(sign):04X}}}"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
