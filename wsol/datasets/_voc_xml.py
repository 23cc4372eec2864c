"""Annotations in the XML of PASCAL VOC, which ILSVRC and Stanford Dogs share: a size, and objects with boxes."""

from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.text import parse_int, parse_number
from wsol.io.xml import read_xml


class VocObject(NamedTuple):
    """One object.

    Attributes:
        name: Its class.
        difficult: Whether annotators found it difficult to recognize.
        box: Corners ``x0, y0, x1, y1``, as published.
    """

    name: str
    difficult: bool
    box: list[float]


def read_objects(path: Path) -> tuple[tuple[int, int], list[VocObject]]:
    """Read the annotation of one image.

    Returns:
        Its size ``(width, height)`` and its objects; the parts of an object (``<part>``) are left out.

    Raises:
        InputError: The file is missing or malformed, or an object has not one name, or a ``difficult`` other than 0
            and 1.
    """
    tree = read_xml(path)
    size, boxes = parse_boxes(tree, path)
    objects = []
    for node, box in zip(tree.iterfind("object"), boxes, strict=True):
        name, difficult = (node.findtext("name") or "").strip(), (node.findtext("difficult") or "0").strip()
        if not name or difficult not in ("0", "1"):
            raise InputError(
                f"{printable(path)} has an object without a <name>, or with a <difficult> other than 0 and 1; restore "
                "the file"
            )
        objects.append(VocObject(name, difficult == "1", box))
    return size, objects


def parse_boxes(tree: Element, path: Path) -> tuple[tuple[int, int], list[list[float]]]:
    """Return the size and the corners of each object of an annotation.

    Args:
        tree: The annotation.
        path: Its file, for messages.

    Raises:
        InputError: There is not one size, an object has not one box, or a number is malformed.
    """
    if len(tree.findall("size")) != 1 or any(len(node.findall("bndbox")) != 1 for node in tree.iterfind("object")):
        raise InputError(
            f"{printable(path)} should have one <size>, and one <bndbox> in every <object>; restore the file"
        )
    width, height = (parse_int(tree.findtext(f"size/{side}", ""), path, f"<{side}>") for side in ("width", "height"))
    corners = ("xmin", "ymin", "xmax", "ymax")
    nodes = tree.iterfind("object/bndbox")
    boxes = [[parse_number(node.findtext(tag, ""), path, f"<{tag}>") for tag in corners] for node in nodes]
    return (width, height), boxes
