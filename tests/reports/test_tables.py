"""Tables as Markdown, LaTeX and plain text, by hand; and names that look like markup."""

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsol.io.display import escape_unprintable
from wsol.reports.tables import Cell, Table, latex_table, latex_text, markdown_table, markdown_text, plain_table

TABLE = Table(
    ["#", "model", "error, at fixed", "note"],
    [
        [Cell("1"), Cell("vgg16_gap"), Cell("12.5", "[1.0, 20.0]", bold=True), Cell("")],
        [Cell("†1"), Cell("a|b"), Cell("50.0"), Cell("images: 5 & 6, not 8; protocol: p:a=1, not q:b=2")],
    ],
    words=2,
    parts=frozenset({1}),
    remarks=1,
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
    assert markdown_table(TABLE) == (
        "| # | model | error, at fixed | note |\n"
        "| --- | --- | --: | --- |\n"
        "| 1 | vgg16_gap | **12.5** [1.0, 20.0] |  |\n"
        "| †1 | a\\|b | 50.0 | images: 5 &#38; 6, not 8; protocol: p:a=1, not q:b=2 |"
    )


def test_latex() -> None:
    text = latex_table(TABLE)
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
    assert plain_table(TABLE).splitlines()[:3] == [
        f"{'error':>32}",
        f"#   model{'at fixed':>23}  note",
        "1   vgg16_gap  12.5* [1.0, 20.0]",
    ]


def test_what_markup_there_is_shows_as_text() -> None:
    shown = "&#60;script&#62;alert('x')&#60;/script&#62;"
    assert markdown_text(NAMES[0]) == shown
    assert markdown_text(NAMES[2]) == r"pipe\|and&#38;dollar&#36;percent%under_score"
    assert markdown_text(NAMES[3]) == r"back&#92;slash &#92;textbf{x} &#92;\|"
    assert markdown_text(NAMES[4]) == r"line\nbreak\r\ttab".replace("\\", "&#92;")
    assert markdown_text("__init__ a_b") == r"\_\_init\_\_ a_b"
    assert markdown_text("[a](b) [c] [d]: e") == r"[a\](b) [c] [d\]: e"
    assert latex_text(NAMES[0]) == (
        r"\textless{}script\textgreater{}alert(\textquotesingle{}x\textquotesingle{})\textless{}/script\textgreater{}"
    )
    assert latex_text(NAMES[2]) == r"pipe\textbar{}and\&dollar\$percent\%under\_score"
    assert latex_text(NAMES[3]) == (r"back\textbackslash{}slash \textbackslash{}textbf\{x\} \textbackslash{}\textbar{}")
    assert latex_text("line\nbreak") == r"line\textbackslash{}nbreak"
    assert latex_text("é 中 ß ǘ") == r"\'{e} \wsolchar{中}{4E2D} \ss{} \wsolchar{ǘ}{01D8}"
    assert latex_text("--- ,, [x] *") == "-{}-{}-{} ,{},{} {[}x{]} {*}"


def test_what_does_not_print_is_named() -> None:
    assert escape_unprintable("a\x1b[31m\u202eb\udc80\x00\u2028\xa0c") == r"a\x1b[31m\u202eb\udc80\x00\u2028\xa0c"


@given(st.text(max_size=60) | st.text(alphabet="a_*`[]()!<>&|\\~$#:{}\"' é", max_size=20))
def test_markdown_is_undone_by_reading_it(text: str) -> None:
    """By the rules of CommonMark: a backslash before punctuation is none, and entities are signs."""
    written = markdown_text(text)
    assert html.unescape(re.sub(r"\\([|`*_~\]])", r"\1", written)) == escape_unprintable(text)
    bare = re.sub(r"\\.|&#\d+;", "x", written)
    assert not set(bare) & set("\\|<>&$`*~")
    assert not re.search(r"\][(\[:]", bare.replace(" ", "x"))


@given(st.text(max_size=60) | st.text(alphabet="a_^~%#&{}[]\\$<>|'`\"-é中", max_size=60))
def test_latex_holds_no_command_but_ours(text: str) -> None:
    written = latex_text(text)
    bare = re.sub(r"\\wsolchar\{.\}\{[0-9A-F]{4,6}\}|\\[`'^~=u.\"rHvc]\{[A-Za-z]\}", "", written)
    commands = set(re.findall(r"\\([A-Za-z]+|.)", bare))
    ours = "textbackslash textasciicircum textasciitilde textless textgreater textbar textasciigrave textquotesingle "
    assert commands <= set((ours + "char allowbreak dag ss ae AE oe OE o O l L S { } $ & % # _").split())
    assert not set(re.sub(r"\\.", "", bare)) & set("$&%#^~<>|\"'`")


@pytest.mark.parametrize("name", NAMES)
def test_a_row_stays_a_row(name: str) -> None:
    table = Table(["a", "b"], [[Cell(name), Cell("1")]])
    for text, rows in ((markdown_table(table), 3), (plain_table(table), 2), (latex_table(table), 7)):
        assert len(text.splitlines()) == rows
    (row,) = markdown_table(table).splitlines()[2:]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert len(re.findall(r"(?<!\\)&", latex_table(table).splitlines()[4])) == 1


def test_long_names_can_be_broken() -> None:
    assert max(map(len, latex_text("x" * 300).split(r"\allowbreak{}"))) <= 24
    assert r"\allowbreak" not in latex_text("x" * 40)


def test_wide_signs_take_two_columns() -> None:
    table = Table(["a", "b"], [[Cell("中文"), Cell("1")], [Cell("e\u0301"), Cell("22")]])
    assert plain_table(table).splitlines() == ["a      b", "中文   1", "e\u0301     22"]
    assert unicodedata.east_asian_width("中") == "W"
