"""XML, JSON and masks that are broken, endless or try to read other files: one sentence each."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pycocotools import mask as rle

from wsol.datasets import load_dataset
from wsol.datasets._coco_masks import decode_segmentation
from wsol.errors import InputError

pytestmark = pytest.mark.slow

NAME = "ILSVRC2012_val_00000001"
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
OBJECT = f"<object><name>n1</name>{BOX}</object>"
SIZE = "<size><width>60</width><height>40</height></size>"
XML = f"<annotation>{SIZE}{OBJECT}</annotation>"
DOCTYPE = r"ILSVRC2012_val_00000001\.xml has a document type declaration \(DOCTYPE\); remove it"
LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))


def ilsvrc(root: Path, content: str | bytes, name: str = NAME) -> Path:
    home = root / "ILSVRC"
    lists, notes = home / "ImageSets" / "CLS-LOC", home / "Annotations" / "CLS-LOC" / "val"
    for folder in (lists, notes):
        folder.mkdir(parents=True)
    (root / "LOC_synset_mapping.txt").write_text("n1 fish\nn2 bird\n")
    (lists / "val.txt").write_text(f"{name} 1\n", encoding="utf-8")
    (notes / f"{NAME}.xml").write_bytes(content.encode() if isinstance(content, str) else content)
    return root


BROKEN_XML = {
    "billion laughs": (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l9;</annotation>', DOCTYPE),
    "quadratic": (f'<!DOCTYPE a [<!ENTITY b "{"x" * 50_000}">]><annotation>{"&b;" * 50_000}</annotation>', DOCTYPE),
    "a file": ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>', DOCTYPE),
    "the net": (f'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">{XML}', DOCTYPE),
    "parameter entity": ('<!DOCTYPE a [<!ENTITY % b SYSTEM "file:///etc/passwd">%b;]><annotation/>', DOCTYPE),
    "in UTF-16": (f'<!DOCTYPE a [<!ENTITY b "c">]>{XML}'.encode("utf-16"), DOCTYPE),
    "unknown entity": ("<annotation>&b;</annotation>", "is not readable XML .undefined entity"),
    "deep": ("<a>" * 100_000 + "</a>" * 100_000, "should have boxes of one synset, but has no object"),
    "deep and open": ("<a>" * 100_000, "is not readable XML .no element found"),
    "huge": (XML + " " * 2**22, r"has 4,194,[0-9]+ bytes, too many for one image; restore the file"),
    "empty": ("", "is not readable XML .no element found"),
    "two roots": (XML + XML, "is not readable XML .junk after document element"),
    "latin-1": (XML.replace("n1", "é").encode("latin-1"), "is not readable XML .not well-formed"),
    "unknown encoding": (f'<?xml version="1.0" encoding="x-klingon"?>{XML}', "is not readable XML .unknown encoding"),
    "two synsets": (XML.replace(OBJECT, OBJECT + OBJECT.replace("n1", "n2")), "of one synset, but has 'n1', 'n2'"),
    "many synsets": (
        XML.replace(OBJECT, "".join(OBJECT.replace("n1", f"m{i}") for i in range(9))),
        "but has 'm0', 'm1', 'm2', ...; fix the file",
    ),
    "synset of two lines": (XML.replace("n1", "a\nb"), r"the synset 'a\\nb' is not one of the 2 in the class list"),
    "no size": (XML.replace(SIZE, ""), "should have one <size>, and one <bndbox> in every <object>"),
    "two sizes": (XML.replace(SIZE, SIZE + SIZE), "should have one <size>"),
    "no box": (XML.replace(BOX, ""), "should have one <size>, and one <bndbox> in every <object>"),
    "a word": (XML.replace(">30<", ">wide<"), "<xmax>: 'wide' is not a number; fix the field"),
    "nan": (XML.replace(">30<", ">nan<"), "<xmax>: 'nan' is not a number"),
    "inf": (XML.replace(">30<", ">1e999<"), "<xmax>: '1e999' is not a number"),
    "empty field": (XML.replace(">30<", "><"), "<xmax>: '' is not a number"),
    "ten thousand digits": (XML.replace(">30<", f">{'9' * 10_000}<"), r"<xmax>: '9{120}'\.\.\. is not a number"),
    "inverted": (XML.replace(">30<", ">0<").replace(">1<", ">9<"), r"inverted or non-finite box \[9.0, 2.0, 0.0, 20.0"),
    "negative size": (XML.replace(">60<", ">-60<"), "has the size -60 x 40; fix the annotation"),
    "no size at all": (XML.replace(">60<", ">0<"), "has the size 0 x 40; fix the annotation"),
    "enormous size": (XML.replace(">60<", ">1e300<"), r"has the size 1e\+300 x 40; fix .*at most 178,956,970 pixels"),
    "half a pixel": (XML.replace(">60<", ">60.5<"), "<width>: '60.5' is not an integer"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_XML)
def test_broken_xml_is_one_sentence(tmp_path: Path, case: str) -> None:
    content, sentence = BROKEN_XML[case]
    one_sentence(sentence, "ilsvrc", ilsvrc(tmp_path, content))


def read_all(name: str, root: Path, arguments: dict[str, str]) -> None:
    for sample in load_dataset(name, root, dataset_args=arguments):
        if sample.mask:
            sample.mask()


def one_sentence(sentence: str, name: str, root: Path, **arguments: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        read_all(name, root, arguments)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "content",
    [
        XML,
        "\ufeff" + XML,
        f'<?xml version="1.0" encoding="latin-1"?>{XML.replace("<object>", "<b>é</b><object>")}'.encode("latin-1"),
        XML.encode("utf-16"),
        XML.replace("><", ">\r\n<"),
    ],
    ids=["plain", "byte order mark", "latin-1", "UTF-16", "CRLF"],
)
def test_xml_in_every_declared_encoding(tmp_path: Path, content: str | bytes) -> None:
    (sample,) = load_dataset("ilsvrc", ilsvrc(tmp_path, content))
    assert (sample.boxes.tolist(), sample.size) == ([[1, 2, 30, 20]], (60, 40))


@pytest.mark.parametrize("what", ["pipe", "folder", "zeros", "zeros followed", "loop"])
def test_xml_that_is_no_file(tmp_path: Path, what: str) -> None:
    path = ilsvrc(tmp_path, "") / "ILSVRC" / "Annotations" / "CLS-LOC" / "val" / f"{NAME}.xml"
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if what == "loop" else "/dev/zero")
    sentence, links = {
        "pipe": ("is not readable XML .it is a pipe", ""),
        "folder": ("is not readable XML .it is a folder", ""),
        "zeros": ("is a link, or below one, to /dev/zero, outside the data root", ""),
        "zeros followed": ("is not readable XML .it is a device", "follow"),
        "loop": ("is not readable XML .Too many levels of symbolic links", ""),
    }[what]
    one_sentence(sentence, "ilsvrc", tmp_path, links=links)


def content() -> dict[str, Any]:
    return {
        "images": [{"id": 3, "file_name": "a.jpg", "width": 60, "height": 40}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [5, 5, 10, 10], "iscrowd": 0, "segmentation": []}
        ],
    }


def coco(root: Path, data: Any) -> Path:
    (root / "notes.json").write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return root


def edit(path: str, value: Any) -> dict[str, Any]:
    """COCO's JSON with a value changed at a dotted path; ``+`` appends."""
    data: Any = content()
    node, *keys = data, *path.split(".")
    for key in keys[:-1]:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if keys[-1] == "+":
        node.append(value)
    elif isinstance(node, list):
        node[int(keys[-1])] = value
    else:
        node[keys[-1]] = value
    return data


NOT_COCO = r"notes\.json is not COCO's JSON with images, annotations and categories"
NO_BOX = "annotation 1 has no bbox of four numbers; fix the annotation"
BROKEN_JSON = {
    "deep": (b"[" * 100_000, NOT_COCO),
    "deep objects": (b'{"a":' * 100_000, NOT_COCO),
    "empty": (b"", NOT_COCO),
    "a list": ([1], NOT_COCO),
    "null": (None, NOT_COCO),
    "latin-1": (json.dumps(content(), ensure_ascii=False).replace("dog", "dög").encode("latin-1"), "is not UTF-8 text"),
    "ten thousand digits": (b'{"images": ' + b"9" * 10_000 + b"}", NOT_COCO + ".*4300 digits"),
    "images is an object": (edit("images", {}), NOT_COCO),
    "annotations is null": (edit("annotations", None), NOT_COCO),
    "an image is a list": (edit("images.+", []), NOT_COCO),
    "an image id is text": (edit("images.0.id", "3"), "the image id '3' should be an integer; fix the entry"),
    "an image id is true": (edit("images.0.id", True), "the image id True should be an integer"),
    "an image id is a list": (edit("images.0.id", [3]), r"the image id \[3\] should be an integer"),
    "an image id twice": (edit("images.+", content()["images"][0]), "two entries have the image id 3; keep one"),
    "a category id twice": (edit("categories.+", {"id": 18}), "two entries have the category id 18; keep one"),
    "an image id is huge": (edit("images.0.id", 2**70), "the image id .* should be an integer"),
    "a width is text": (edit("images.0.width", "60"), "image 3 lacks file_name, width or height"),
    "a width is true": (edit("images.0.width", True), "image 3 lacks file_name, width or height"),
    "a width is huge": (edit("images.0.width", 10**12), "has the size 1000000000000 x 40; fix the annotation"),
    "a width is zero": (edit("images.0.width", 0), "has the size 0 x 40"),
    "a file name climbs": (edit("images.0.file_name", "../a.jpg"), r"'\.\./a\.jpg' is not a path below"),
    "a file name is absolute": (edit("images.0.file_name", "/etc/passwd"), "'/etc/passwd' is not a path below"),
    "a file name is empty": (edit("images.0.file_name", ""), "'' is not a path below"),
    "a file name has a NUL": (edit("images.0.file_name", "a\0b"), r"the id 'a\\x00b' .* cannot be printed"),
    "a file name is half a pair": (edit("images.0.file_name", "\ud800"), r"the id '\\ud800' .* cannot be printed"),
    "a name is half a pair": (edit("categories.0.name", "\ud83d"), r"name of class 0, '\\ud83d', has a character"),
    "a name of two lines": (edit("categories.0.name", "a\nb"), r"the name of class 0, 'a\\nb', has a character"),
    "no image id": (edit("annotations.0.image_id", None), "annotation 1 has no integer image_id"),
    "a category is a list": (edit("annotations.0.category_id", [18]), r"unknown category \[18\]"),
    "a box is text": (edit("annotations.0.bbox", "1234"), NO_BOX),
    "a box of texts": (edit("annotations.0.bbox", ["1", "2", "3", "4"]), NO_BOX),
    "a box of three": (edit("annotations.0.bbox", [1, 2, 3]), NO_BOX),
    "a box of NaN": (edit("annotations.0.bbox", [1, 2, float("nan"), 4]), NO_BOX),
    "a box of 400 digits": (edit("annotations.0.bbox", [1, 2, 10**400, 4]), NO_BOX),
    "a box of true": (edit("annotations.0.bbox", [1, 2, True, 4]), NO_BOX),
    "a box too large to add": (edit("annotations.0.bbox", [1e308, 2, 1e308, 4]), "inverted or non-finite box"),
    "a box of nothing": (
        edit("annotations.0.bbox", [1, 2, 0, 4]),
        r"has no box to evaluate \(notes.json: annotations without width or height are left out \(1\): 1 \(a.jpg\)\)",
    ),
    "a crowd of text": (edit("annotations.0.iscrowd", "0"), "annotation 1 has the iscrowd '0', not 0 or 1; fix the"),
    "half an image id": (edit("images.0.id", 3.5), "the image id 3.5 should be an integer"),
    "half a width": (edit("images.0.width", 60.5), "image 3 lacks file_name, width or height"),
    "half a category": (edit("annotations.0.category_id", 18.5), "unknown category 18.5"),
    "a negative box": (edit("annotations.0.bbox", [1, 2, -3, 4]), "a.jpg has an empty, inverted or non-finite box"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_JSON)
def test_broken_json_is_one_sentence(tmp_path: Path, case: str) -> None:
    data, sentence = BROKEN_JSON[case]
    one_sentence(sentence, "coco", coco(tmp_path, data), annotations="notes.json")


COUNTS = rle.encode(np.asfortranarray(np.eye(40, 60, dtype=np.uint8)))["counts"].decode()
BROKEN_MASKS = {
    "text": ("xyz", "it is neither a list of polygons nor RLE"),
    "a polygon is a number": ([1, 2, 3, 4, 5, 6], "a polygon is not a list of three points or more"),
    "two points": ([[1, 2, 3, 4]], "a polygon is not a list of three points or more"),
    "an odd number": ([[1, 2, 3, 4, 5, 6, 7]], "a polygon is not a list of three points or more"),
    "nested": ([[[1, 2], [3, 4], [5, 6]] * 2], "a corner that is not a number or far outside the 60 x 40 image"),
    "far away": ([[0, 0, 2e9, 0, 2e9, 2e9]], "a corner that is not a number or far outside the 60 x 40 image"),
    "objects": ([[{}, 0, 0, 0, 9, 9]], "a corner that is not a number or far outside the 60 x 40 image"),
    "NaN": ([[0, 0, float("nan"), 0, 9, 9]], "a corner that is not a number or far outside"),
    "endless": ([[0, 0, 60, 40] * 200_000], "a polygon is longer than any outline"),
    "terabytes": ({"size": [10**6, 10**6], "counts": "1"}, r"its RLE does not have the image's size \[40, 60\]"),
    "turned": ({"size": [60, 40], "counts": COUNTS}, r"its RLE does not have the image's size \[40, 60\]"),
    "no size": ({"counts": [2400]}, "its RLE does not have the image's size"),
    "no counts": ({"size": [40, 60]}, "its counts are not non-negative integers"),
    "a negative count": ({"size": [40, 60], "counts": [2500, -100]}, "its counts are not non-negative integers"),
    "a huge count": ({"size": [40, 60], "counts": [2**40]}, "its counts are not non-negative integers"),
    "half a count": ({"size": [40, 60], "counts": [1200.5, 1199.5]}, "its counts are not non-negative integers"),
    "too short": ({"size": [40, 60], "counts": [100]}, "its counts sum to 100, not to 60 x 40 pixels"),
    "too long": ({"size": [40, 60], "counts": [2400, 10**8]}, "its counts sum to 100002400"),
    "cut off": ({"size": [40, 60], "counts": COUNTS + "p"}, "its counts are not valid run lengths"),
    "never ending": ({"size": [40, 60], "counts": "p" * 10**6}, "its counts are not valid run lengths"),
    "other characters": ({"size": [40, 60], "counts": "\ud800é"}, "its counts are not valid run lengths"),
    "below zero": ({"size": [40, 60], "counts": "O"}, "its counts are not non-negative integers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_MASKS)
def test_broken_segmentations_are_one_sentence(tmp_path: Path, case: str) -> None:
    shape, sentence = BROKEN_MASKS[case]
    root = coco(tmp_path, edit("annotations.0.segmentation", shape))
    one_sentence(
        f"a segmentation of a.jpg is invalid .*{sentence}.*; fix the annotation", "coco", root, annotations="notes.json"
    )


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_run_lengths_are_read_as_pycocotools_writes_them(drawn: np.ndarray) -> None:
    height, width = drawn.shape
    compressed = rle.encode(np.asfortranarray(drawn))["counts"].decode()
    decoded = decode_segmentation({"size": [height, width], "counts": compressed}, (width, height))
    assert (decoded == drawn.astype(bool)).all()


def test_long_run_lengths_are_read_as_pycocotools_writes_them() -> None:
    drawn = np.zeros((700, 900), np.uint8, order="F")
    drawn[100:600, 300:301] = drawn[5:, 700:] = 1  # counts of five, ten, fifteen and twenty bits, rising and falling
    compressed = rle.encode(drawn)["counts"].decode()
    assert (decode_segmentation({"size": [700, 900], "counts": compressed}, (900, 700)) == drawn).all()


def text_bomb() -> bytes:
    """A PNG file with a comment of 50 MB."""
    info, file = PngInfo(), io.BytesIO()
    info.add_text("k", "a" * 50_000_000, zip=True)
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def write_mask(root: Path, mask: np.ndarray | bytes | None) -> Path:
    for name, line in {"image_ids": "a.png", "class_labels": "a.png,0", "localization": "a.png,m.png,"}.items():
        (root / "test").mkdir(exist_ok=True)
        (root / "test" / f"{name}.txt").write_text(line + "\n")
    if isinstance(mask, bytes):
        (root / "m.png").write_bytes(mask)
    elif mask is None:
        os.mkfifo(root / "m.png")
    else:
        Image.fromarray(mask).save(root / "m.png")
    return root


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (b"", r"m\.png is not an image; restore the mask"),
        (None, r"m\.png cannot be decoded \(it is a pipe\); restore the mask"),
        (text_bomb(), r"m\.png cannot be decoded \(Decompressed data too large.*\); restore the mask"),
        (np.zeros((4, 4), np.uint8), r"m\.png is empty, so the object has no box"),
    ],
    ids=["empty", "pipe", "text bomb", "no pixel"],
)
def test_broken_masks_are_one_sentence(tmp_path: Path, mask: np.ndarray | bytes | None, sentence: str) -> None:
    one_sentence(sentence, "metadata", write_mask(tmp_path, mask), masks=str(tmp_path))


@pytest.mark.parametrize("mode", ["1", "L", "P", "I", "F", "LA", "RGB", "RGBA", "I;16"])
def test_masks_of_every_mode_mark_the_same_pixels(tmp_path: Path, mode: str) -> None:
    drawn = np.zeros((8, 9), np.uint8)
    drawn[2:5, 3:7] = 255
    (write_mask(tmp_path, drawn) / "m.png").unlink()
    Image.fromarray(drawn).convert(mode).save(tmp_path / "m.png", "TIFF")
    (sample,) = load_dataset("metadata", tmp_path, dataset_args={"masks": str(tmp_path)})
    assert sample.boxes.tolist() == [[3, 2, 7, 5]]
    assert (sample.mask().foreground == (drawn > 0)).all()


def test_a_trimap_that_is_no_trimap(tmp_path: Path) -> None:
    notes = tmp_path / "annotations"
    (notes / "trimaps").mkdir(parents=True)
    for name in ("test", "trainval"):
        (notes / f"{name}.txt").write_text("a_1 1 1 1\n")
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(notes / "trimaps" / "a_1.png")
    one_sentence(r"a_1\.png marks no pet \(1\)", "oxford-pets", tmp_path)
    (notes / "trimaps" / "a_1.png").write_bytes(b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;")
    one_sentence(
        r"a_1\.png is too large an image .*; restore the trimap or use a smaller copy", "oxford-pets", tmp_path
    )


@pytest.mark.parametrize("case", ["billion laughs", "a file", "deep"])
def test_the_command_says_it_once(tmp_path: Path, command_error: Callable[..., str], case: str) -> None:
    sentence = command_error("ilsvrc", ilsvrc(tmp_path, BROKEN_XML[case][0]))
    assert NAME in sentence
    assert "root:" not in sentence  # from /etc/passwd


def test_the_command_on_a_broken_segmentation(tmp_path: Path, command_error: Callable[..., str]) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg")
    coco(tmp_path, edit("annotations.0.segmentation", BROKEN_MASKS["terabytes"][0]))
    assert "its RLE does not have the image's size" in command_error(
        "coco", tmp_path, "--dataset-arg", "annotations=notes.json", "--protocol", "wsolevaluation"
    )
