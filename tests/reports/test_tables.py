"""Tables as Markdown, LaTeX and plain text, by hand; and names that look like markup."""

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsol.io.display import escape_unprintable
from wsol.reports.tables import Cell, Table, escape_latex, escape_markdown, format_latex, format_markdown, format_plain

TABLE = Table(
    ["#", "model", "error, at fixed", "note"],
    [
        [Cell("1"), Cell("vgg16_gap"), Cell("12.5", "[1.0, 20.0]", bold=True), Cell("")],
        [Cell("†1"), Cell("a|b"), Cell("50.0"), Cell("images: 5 & 6, not 8; protocol: p:a=1, not q:b=2")],
    ],
    text_columns=2,
    ruled_rows=frozenset({1}),
    trailing_text_columns=1,
)
NAMES = [
    "<script>alert('x')</script>",
    'a "quoted", name',
    "pipe|and&dollar$percent%under_score",
    "back\\slash \\textbf{x} \\|",
    "line\nbreak\r\ttab",
    "é 中文 ß 😀",
    "x" * 300,
    "[link](http://a.b) **bold** __bold__ `code` ~~no~~ &amp; &#124;",
]


def test_markdown() -> None:
    assert format_markdown(TABLE) == (
        "| # | model | error, at fixed | note |\n"
        "| --- | --- | --: | --- |\n"
        "| 1 | vgg16_gap | **12.5** [1.0, 20.0] |  |\n"
        "| †1 | a\\|b | 50.0 | images: 5 &#38; 6, not 8; protocol: p:a=1, not q:b=2 |"
    )


def test_latex() -> None:
    text = format_latex(TABLE)
    assert text.splitlines()[:7] == [
        r"\begin{tabular}{llrl}",
        r"\toprule",
        r"\# & model & \parbox[b]{7em}{\raggedleft error,{} at fixed} & note \\",
        r"\midrule",
        r"1 & vgg16\_gap & \shortstack[r]{\textbf{12.5}\\{\tiny {[}1.0,{} 20.0{]}}} &  \\[3pt]",
        r"\midrule",
        text.splitlines()[6],
    ]
    assert text.splitlines()[6].startswith(r"\dag{}1 & a\textbar{}b & 50.0 & \parbox[t]{16em}{\raggedright images:")
    assert (
        text.splitlines()[6]
        .replace(r"\allowbreak{}", "")
        .endswith(r"images: 5 \& 6,{} not 8; protocol: p:a=1,{} not q:b=2\strut} \\")
    )
    assert text.splitlines()[7:] == [r"\bottomrule", r"\end{tabular}"]


def test_plain() -> None:
    assert format_plain(TABLE).splitlines()[:3] == [
        f"{'error':>32}",
        f"#   model{'at fixed':>23}  note",
        "1   vgg16_gap  12.5* [1.0, 20.0]",
    ]


def test_markup_is_shown_literally() -> None:
    shown = "&#60;script&#62;alert('x')&#60;/script&#62;"
    assert escape_markdown(NAMES[0]) == shown
    assert escape_markdown(NAMES[2]) == r"pipe\|and&#38;dollar&#36;percent%under_score"
    assert escape_markdown(NAMES[3]) == r"back&#92;slash &#92;textbf{x} &#92;\|"
    assert escape_markdown(NAMES[4]) == r"line\nbreak\r\ttab".replace("\\", "&#92;")
    assert escape_markdown("__init__ a_b") == r"\_\_init\_\_ a_b"
    assert escape_markdown("[a](b) [c] [d]: e") == r"[a\](b) [c] [d\]: e"
    assert escape_latex(NAMES[0]) == (
        r"\textless{}script\textgreater{}alert(\textquotesingle{}x\textquotesingle{})\textless{}/script\textgreater{}"
    )
    assert escape_latex(NAMES[2]) == r"pipe\textbar{}and\&dollar\$percent\%under\_score"
    assert escape_latex(NAMES[3]) == (
        r"back\textbackslash{}slash \textbackslash{}textbf\{x\} \textbackslash{}\textbar{}"
    )
    assert escape_latex("line\nbreak") == r"line\textbackslash{}nbreak"
    assert escape_latex("é 中 ß ǘ") == r"\'{e} \wsolchar{中}{4E2D} \ss{} \wsolchar{ǘ}{01D8}"
    assert escape_latex("--- ,, [x] *") == "-{}-{}-{} ,{},{} {[}x{]} {*}"


def test_unprintable_characters_are_escaped() -> None:
    assert escape_unprintable("a\x1b[31m\u202eb\udc80\x00\u2028\xa0c") == r"a\x1b[31m\u202eb\udc80\x00\u2028\xa0c"


@given(st.text(max_size=60) | st.text(alphabet="a_*`[]()!<>&|\\~$#:{}\"' é", max_size=20))
def test_markdown_renders_to_the_original_string(text: str) -> None:
    """By the rules of CommonMark: a backslash before punctuation is none, and entities are characters."""
    written = escape_markdown(text)
    assert html.unescape(re.sub(r"\\([|`*_~\]])", r"\1", written)) == escape_unprintable(text)
    bare = re.sub(r"\\.|&#\d+;", "x", written)
    assert not set(bare) & set("\\|<>&$`*~")
    assert not re.search(r"\][(\[:]", bare.replace(" ", "x"))


@given(st.text(max_size=60) | st.text(alphabet="a_^~%#&{}[]\\$<>|'`\"-é中", max_size=60))
def test_latex_contains_only_our_commands(text: str) -> None:
    written = escape_latex(text)
    bare = re.sub(r"\\wsolchar\{.\}\{[0-9A-F]{4,6}\}|\\[`'^~=u.\"rHvc]\{[A-Za-z]\}", "", written)
    commands = set(re.findall(r"\\([A-Za-z]+|.)", bare))
    ours = "textbackslash textasciicircum textasciitilde textless textgreater textbar textasciigrave textquotesingle "
    assert commands <= set((ours + "char allowbreak dag ss ae AE oe OE o O l L S { } $ & % # _").split())
    assert not set(re.sub(r"\\.", "", bare)) & set("$&%#^~<>|\"'`")


@pytest.mark.parametrize("name", NAMES)
def test_a_row_stays_a_row(name: str) -> None:
    table = Table(["a", "b"], [[Cell(name), Cell("1")]])
    for text, rows in ((format_markdown(table), 3), (format_plain(table), 2), (format_latex(table), 7)):
        assert len(text.splitlines()) == rows
    (row,) = format_markdown(table).splitlines()[2:]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert len(re.findall(r"(?<!\\)&", format_latex(table).splitlines()[4])) == 1


def test_long_names_can_be_broken() -> None:
    assert max(map(len, escape_latex("x" * 300).split(r"\allowbreak{}"))) <= 24
    assert r"\allowbreak" not in escape_latex("x" * 40)


def test_wide_characters_take_two_columns() -> None:
    table = Table(["a", "b"], [[Cell("中文"), Cell("1")], [Cell("e\u0301"), Cell("22")]])
    assert format_plain(table).splitlines() == ["a      b", "中文   1", "e\u0301     22"]
    assert unicodedata.east_asian_width("中") == "W"
