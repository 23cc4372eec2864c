"""Annotations of ILSVRC in XML: the usual form is read quickly, any other by the XML parser, with the same result."""

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from wsol.datasets._voc_xml import parse_boxes
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.paths import check_file
from wsol.io.xml import read_xml


class Annotation(NamedTuple):
    """The annotation of one image.

    Attributes:
        wnid: The synset of all boxes.
        size: ``(width, height)`` of the image that was annotated.
        boxes: Corners ``x0, y0, x1, y1`` of each box.
    """

    wnid: str
    size: tuple[int, int]
    boxes: list[list[float]]


def read_annotation(path: str) -> Annotation:
    """Read the annotation of one image.

    Raises:
        InputError: The file is missing or malformed, or does not have boxes of one synset.
    """
    return _read_usual(path) or _read_any(Path(path))


def read_wnids(path: str) -> set[str]:
    """Return the synsets of an annotation, whatever else it has.

    Raises:
        InputError: The file is missing or not XML.
    """
    usual = _read_usual(path)
    return {usual.wnid} if usual else _find_wnids(read_xml(Path(path)))


def _read_any(path: Path) -> Annotation:
    tree, where = read_xml(path), printable(path)
    wnids = _find_wnids(tree)
    if len(wnids) != 1:
        names = ", ".join(quote(wnid) for wnid in sorted(wnids)[:3]) + ", ..." * (len(wnids) > 3) or "no object"
        raise InputError(f"{where} should have boxes of one synset, but has {names}; fix the file or remove the image")
    size, boxes = parse_boxes(tree, path)
    return Annotation(wnids.pop(), size, boxes)


def _find_wnids(tree: Element) -> set[str]:
    return {(name.text or "").strip() for name in tree.iterfind("object/name")}


_SPACE = r"[ \t\r\n]*"  # what XML takes for white space


def _element(tag: str, content: str, ending: str = "") -> str:
    return rf"(?:<{tag}>{content}</{tag}>{_SPACE}){ending}"


def _usual_form() -> tuple[re.Pattern[bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    """Return patterns of the file up to its objects, of an object, and of the end of the file.

    They match files that every XML parser reads alike: elements without attributes, in one order, each once, with plain
    ASCII text. Numbers have at most nine digits, so that no conversion rounds them.
    """
    text, integer = r"[A-Za-z0-9_ .-]*", "([0-9]{1,9})"
    corners = "".join(_element(tag, integer) for tag in ("xmin", "ymin", "xmax", "ymax"))
    head = (
        f"{_SPACE}<annotation>{_SPACE}"
        + "".join(_element(tag, text, "?") for tag in ("folder", "filename"))
        + _element("source", _SPACE + _element("database", text), "?")
        + _element("size", _SPACE + _element("width", integer) + _element("height", integer) + _element("depth", text))
        + _element("segmented", text, "?")
    )
    flags = "".join(_element(tag, text, "?") for tag in ("pose", "truncated", "difficult"))
    content = _SPACE + _element("name", "([A-Za-z0-9_]+)") + flags + _element("bndbox", _SPACE + corners)
    patterns = head, _element("object", content), f"</annotation>{_SPACE}"
    head_pattern, object_pattern, end_pattern = (re.compile(pattern.encode()) for pattern in patterns)
    return head_pattern, object_pattern, end_pattern


_HEAD, _OBJECT, _END = _usual_form()
_MAX_BYTES = 2**16  # a larger file is not of the usual form


def _read_usual(path: str) -> Annotation | None:
    """Read an annotation of the usual form; None for one of any other, and for a file that cannot be read."""
    try:
        if check_file(path) > _MAX_BYTES:
            return None
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a path object costs more than reading the file
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError):  # the XML parser says what is wrong
        return None
    head = _HEAD.match(content)
    if not head:
        return None
    end, wnids, boxes = head.end(), set(), []
    while match := _OBJECT.match(content, end):
        wnid, *corners = match.groups()
        wnids.add(wnid)
        boxes.append([float(corner) for corner in corners])
        end = match.end()
    if len(wnids) != 1 or not _END.fullmatch(content, end):
        return None
    return Annotation(wnids.pop().decode(), (int(head[1]), int(head[2])), boxes)
