"""Tables as Markdown, LaTeX and plain text; any string in a cell is shown literally."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from wsol.io.display import escape_unprintable

PREAMBLE = r"\providecommand{\wsolchar}[2]{\ifdefined\Umathchar#1\else\texttt{U+#2}\fi}"
"""LaTeX preamble for ``escape_latex``: pdfLaTeX prints a character without a glyph as its code point."""

_MAX_CELL = 40  # characters; longer cells are broken into lines in LaTeX
_MAX_TITLE = 12  # characters; longer titles of numeric columns are broken into lines
_MAX_WORD = 24  # characters; longer words are broken
_MARKDOWN = {c: f"&#{ord(c)};" for c in "\\<>&$"} | {c: f"\\{c}" for c in "|`*_~]"}
_PLAIN = re.compile(r"(?<=[^\W_])_(?=[^\W_])|\](?![(\[:])")  # not special in Markdown there
_LATEX = {c: f"\\{c}" for c in "{}$&%#_"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    '"': r"\char34{}",  # babel makes the character itself active in some languages
    "-": "-{}",  # two would become a dash
    "[": "{[}",  # after the end of a line it would be an argument
    "]": "{]}",
    "*": "{*}",
    ",": ",{}",  # two would become a quotation mark
    "?": "?{}",  # followed by a grave accent, a Spanish one
    "!": "!{}",
}
_LETTERS = ("ss", "ae", "AE", "oe", "OE", "o", "O", "l", "L", "S", "dag")
_LATEX |= {c: rf"\{name}{{}}" for c, name in zip("ßæÆœŒøØłŁ§†", _LETTERS, strict=True)}
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: Any string.
        detail: Smaller text after it.
        bold: Whether the text is bold.
    """

    text: str
    detail: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: Names of the columns; on the terminal, a comma followed by a space starts a new line.
        rows: Rows with one cell per column.
        text_columns: Number of leading columns with text; columns of numbers are right-aligned.
        ruled_rows: Indices of the rows with a rule above.
        trailing_text_columns: Number of trailing columns with text.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text_columns: int = 1
    ruled_rows: frozenset[int] = frozenset()
    trailing_text_columns: int = 0

    def is_number(self, column: int) -> bool:
        """Return whether a column is right-aligned."""
        return self.text_columns <= column < len(self.header) - self.trailing_text_columns


def escape_markdown(text: str) -> str:
    """Escape a string so that Markdown (CommonMark, GitHub's tables) shows it literally."""
    line = escape_unprintable(text)
    plain = {match.start() for match in _PLAIN.finditer(line)}
    return "".join(c if i in plain else _MARKDOWN.get(c, c) for i, c in enumerate(line))


def escape_latex(text: str) -> str:
    """Escape a string so that LaTeX (2020 or later, any engine) shows it literally; long strings may break anywhere."""
    line = escape_unprintable(text)
    escaped = [_LATEX.get(c) or _escape_non_ascii(c) for c in line]
    if len(line) <= _MAX_CELL:
        return "".join(escaped)
    word_length = 0
    for i, c in enumerate(line):
        word_length = word_length + 1 if c.isalnum() else _MAX_WORD
        if word_length == _MAX_WORD:
            escaped[i] += r"\allowbreak{}"
            word_length = 0
    return "".join(escaped)


def format_markdown(table: Table) -> str:
    """Format a table as GitHub's Markdown."""

    def show(cell: Cell) -> str:
        text = escape_markdown(cell.text)
        return " ".join(filter(None, (f"**{text}**" if cell.bold else text, escape_markdown(cell.detail))))

    marks = ["--:" if table.is_number(i) else "---" for i in range(len(table.header))]
    lines = [[escape_markdown(name) for name in table.header], marks, *(list(map(show, row)) for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_latex(table: Table) -> str:
    r"""Format a table as a ``tabular`` with the rules of the package booktabs."""

    def show(cell: Cell) -> str:
        text = escape_latex(cell.text)
        if len(cell.text) > _MAX_CELL:
            return rf"\parbox[t]{{16em}}{{\raggedright {text}\strut}}"
        bold = rf"\textbf{{{text}}}" if cell.bold else text
        return rf"\shortstack[r]{{{bold}\\{{\tiny {escape_latex(cell.detail)}}}}}" if cell.detail else bold

    def title(i: int, name: str) -> str:
        text = escape_latex(name)
        return rf"\parbox[b]{{7em}}{{\raggedleft {text}}}" if table.is_number(i) and len(name) > _MAX_TITLE else text

    columns = ["r" if table.is_number(i) else "l" for i in range(len(table.header))]
    lines = [rf"\begin{{tabular}}{{{''.join(columns)}}}", r"\toprule"]
    lines += [f"{' & '.join(title(i, name) for i, name in enumerate(table.header))} \\\\", r"\midrule"]
    for i, row in enumerate(table.rows):
        end = r"\\[3pt]" if any(cell.detail for cell in row) else r"\\"
        lines += [r"\midrule"] * (i in table.ruled_rows) + [f"{' & '.join(map(show, row))} {end}"]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def format_plain(table: Table) -> str:
    """Format a table for the terminal; bold text has an asterisk."""
    titles = [escape_unprintable(name).split(", ") for name in table.header]
    height = max(map(len, titles))
    lines = [*zip(*([""] * (height - len(title)) + title for title in titles), strict=True)]
    lines += [tuple(_format_plain_cell(cell) for cell in row) for row in table.rows]
    widths = [max(map(_terminal_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(_pad(text, widths[i], table.is_number(i)) for i, text in enumerate(line)).rstrip() for line in lines
    )


def _format_plain_cell(cell: Cell) -> str:
    return escape_unprintable(" ".join(filter(None, (cell.text + "*" * cell.bold, cell.detail))))


def _escape_non_ascii(character: str) -> str:
    """Return the LaTeX form of a character: ASCII as is, a letter with an accent command, or ``wsolchar``."""
    if character.isascii():
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return rf"\wsolchar{{{character}}}{{{ord(character):04X}}}"


def _terminal_width(text: str) -> int:
    """Return the number of terminal columns that a string occupies."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _terminal_width(text))
    return space + text if right else text + space
