"""Annotations of the usual form, which skip the XML parser, are read as it would read them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsol.datasets import _ilsvrc_xml
from wsol.datasets._ilsvrc_xml import Annotation, read_annotation, read_wnids
from wsol.errors import InputError

USUAL = """<annotation>
\t<folder>val</folder>
\t<filename>ILSVRC2012_val_00000001</filename>
\t<source>
\t\t<database>ILSVRC_2012</database>
\t</source>
\t<size>
\t\t<width>500</width>
\t\t<height>375</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>n01440764</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>111</xmin>
\t\t\t<ymin>57</ymin>
\t\t\t<xmax>303</xmax>
\t\t\t<ymax>175</ymax>
\t\t</bndbox>
\t</object>
</annotation>
"""
SECOND = USUAL[USUAL.index("\t<object>") : USUAL.index("</annotation>")].replace(">111<", ">7<")
TWO = USUAL.replace("</annotation>", f"{SECOND}</annotation>")
PIECES = re.findall(r"<[^>]*>|[^<]+", TWO)
ODDITIES = [*dict.fromkeys(PIECES), "", " ", "\f", "\v", "\0", "\ufeff", "\xa0", "é", "&lt;", "&#48;", "&b;", "]]>"]
ODDITIES += ["<!-- > -->", "<![CDATA[1]]>", '<?xml version="1.0"?>', "<!DOCTYPE a>", "<?p?>", "<name>n2</name>", "<a/>"]
ODDITIES += [
    "<size a='1'>",
    "<xmin/>",
    "007",
    "1e2",
    "-4",
    "+5",
    "1_0",
    "9" * 9,
    "9" * 10,
    "9" * 400,
    "٣",
    "nan",
    "n 1",
    "n2",
]


def outcome(read: Callable[[str], object], path: Path) -> object:
    """Return what a reader returns, or the sentence that it raises."""
    try:
        return read(os.fspath(path))
    except InputError as error:
        return str(error)


def outcomes(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """Return what both readers make of a file, with the quick way and without it."""
    readers = (read_annotation, read_wnids)
    quick = [outcome(read, path) for read in readers]
    with monkeypatch.context() as patch:
        patch.setattr(_ilsvrc_xml, "_read_usual", lambda _: None)
        return list(zip(quick, [outcome(read, path) for read in readers], strict=True))


def test_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(TWO)
    assert read_annotation(os.fspath(path)) == Annotation(
        "n01440764", (500, 375), [[111, 57, 303, 175], [7, 57, 303, 175]]
    )
    assert read_wnids(os.fspath(path)) == {"n01440764"}


@pytest.mark.parametrize("text", [USUAL, TWO, re.sub(r"\s", "", TWO), TWO.replace("\n", "\r\n"), "\n" + TWO])
def test_the_usual_form_needs_no_xml_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(text.encode())
    quick = _ilsvrc_xml._read_usual(os.fspath(path))
    monkeypatch.setattr(_ilsvrc_xml, "_read_usual", lambda _: None)
    assert quick == read_annotation(os.fspath(path))


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(PIECES)), st.integers(0, 2), st.sampled_from(ODDITIES) | st.text(max_size=3)),
        max_size=2,
    )
)
def test_any_damage_has_the_outcome_of_the_xml_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edits: list[tuple[int, int, str]]
) -> None:
    pieces = [*PIECES]
    for place, removed, added in edits:
        pieces[place : place + removed] = [added]
    path = tmp_path / "a.xml"
    path.write_bytes("".join(pieces).encode("utf-8", "surrogatepass"))
    for quick, safe in outcomes(path, monkeypatch):
        assert quick == safe


@pytest.mark.slow
def test_every_odd_text_in_every_field_has_the_outcome_of_the_xml_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, texts = tmp_path / "a.xml", [text for text in ODDITIES if "<" not in text]
    for i in (i for i, piece in enumerate(PIECES) if piece[0] != "<" and piece.strip()):
        for text in texts:
            path.write_text("".join([*PIECES[:i], text, *PIECES[i + 1 :]]), encoding="utf-8")
            for quick, safe in outcomes(path, monkeypatch):
                assert quick == safe


@pytest.mark.parametrize("byte", [0x00, 0x0B, 0x0C, 0x1F, 0x7F, 0x85, 0xA0, 0xFF])
def test_every_place_of_a_bad_byte_has_the_outcome_of_the_xml_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, byte: int
) -> None:
    content, path = re.sub(r"\s+", " ", USUAL).encode(), tmp_path / "a.xml"
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([byte]) + content[place:])
        for quick, safe in outcomes(path, monkeypatch):
            assert quick == safe


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path), lambda path: None])
def test_what_is_no_file_has_the_sentence_of_the_xml_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.xml")
    for quick, safe in outcomes(tmp_path / "a.xml", monkeypatch):
        assert quick == safe
        assert isinstance(quick, str)
        assert "a.xml" in quick
