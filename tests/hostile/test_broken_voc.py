"""Lists, annotations and masks of PASCAL VOC and Stanford Dogs that are broken or lead elsewhere: one sentence each."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wsol.datasets import load_dataset
from wsol.errors import InputError

pytestmark = pytest.mark.slow

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
OBJECT = f"<object><name>dog</name><difficult>0</difficult>{BOX}</object>"
SIZE = "<size><width>60</width><height>40</height></size>"
XML = f"<annotation>{SIZE}{OBJECT}</annotation>"


def png(pixels: np.ndarray, mode: str = "") -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([0] * 768)
    image.save(file, "PNG")
    return file.getvalue()


GOOD = png(np.full((40, 60), 12, np.uint8), "P")


def voc(root: Path, xml: str | bytes = XML, ids: str = "000001\n", palette: bytes = GOOD) -> Path:
    home = root / "VOC2007"
    for name in ("Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "Annotations" / "000001.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    (home / "SegmentationClass" / "000001.png").write_bytes(palette)
    for name in ("Main", "Segmentation"):
        (home / "ImageSets" / name / "trainval.txt").write_text(ids)
    return root


def read(name: str, root: Path, arguments: dict[str, str]) -> None:
    for sample in load_dataset(name, root, dataset_args=arguments):
        if sample.mask:
            sample.mask()


def one_sentence(sentence: str, name: str, root: Path, **arguments: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        read(name, root, arguments)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


BROKEN_XML = {
    "a file": ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>', "DOCTYPE"),
    "empty": ("", "is not readable XML .no element found"),
    "no object": (XML.replace(OBJECT, ""), "none of the 1 images of 2007-trainval has an object that counts; restore"),
    "no size": (XML.replace(SIZE, ""), "should have one <size>, and one <bndbox> in every <object>"),
    "no box": (XML.replace(BOX, ""), "should have one <size>, and one <bndbox> in every <object>"),
    "a box in a part": (XML.replace(BOX, f"<part>{BOX}</part>"), "one <bndbox> in every <object>"),
    "two boxes": (XML.replace(BOX, BOX + BOX), "one <bndbox> in every <object>"),
    "no name": (XML.replace("<name>dog</name>", ""), "has an object without a <name>, or with a <difficult> other"),
    "an empty name": (XML.replace("dog", " "), "has an object without a <name>"),
    "half difficult": (XML.replace("<difficult>0", "<difficult>0.5"), "with a <difficult> other than 0 and 1; restore"),
    "another class": (XML.replace("dog", "wolf"), "'wolf' is none of the 20 classes of VOC; restore the file"),
    "a class of two lines": (XML.replace("dog", "a\nb"), r"'a\\nb' is none of the 20 classes"),
    "a word": (XML.replace(">30<", ">wide<"), "<xmax>: 'wide' is not a number"),
    "inverted": (XML.replace(">30<", ">0<"), r"inverted or non-finite box \[1.0, 2.0, 0.0, 20.0\] \(one-based corners"),
    "enormous": (XML.replace(">60<", ">1e300<"), r"has the size 1e\+300 x 40"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_XML)
def test_broken_annotations_are_one_sentence(tmp_path: Path, case: str) -> None:
    xml, sentence = BROKEN_XML[case]
    one_sentence(sentence, "voc", voc(tmp_path, xml))


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ("../../etc/passwd\n", r"'\.\./\.\./etc/passwd\.xml' is not a path below .*Annotations"),
        ("/etc/passwd\n", r"'/etc/passwd\.xml' is not a path below"),
        ("000001\n000001\n", "000001 is listed twice; keep one entry"),
        ("000002\n", r"000002\.xml is missing: the image has no box"),
        ("", "the split 'test' has no image"),
        ("a\x0bb\n", r"line 1: the control character '\\x0b' is not allowed"),
    ],
)
def test_broken_lists_are_one_sentence(tmp_path: Path, ids: str, sentence: str) -> None:
    one_sentence(sentence, "voc", voc(tmp_path, ids=ids))
    one_sentence(sentence, "voc", voc(tmp_path, ids=ids), masks="true")


BROKEN_PALETTES = {
    "empty": (b"", r"000001\.png is not an image; restore the mask"),
    "cut": (GOOD[:60], r"000001\.png (cannot be decoded|is not an image).*restore the mask"),
    "colors": (png(np.full((40, 60, 3), 12, np.uint8)), "should have a palette with the classes 0 to 20 and 255; rest"),
    "another class": (png(np.full((40, 60), 21, np.uint8), "P"), "should have a palette with the classes 0 to 20"),
    "sixteen bit": (png(np.full((40, 60), 12, np.uint16)), "should have a palette with the classes 0 to 20"),
    "enormous": (
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;",
        r"000001\.png is too large an image .*; restore the mask or use a smaller copy",
    ),
}


@pytest.mark.parametrize("case", BROKEN_PALETTES)
def test_broken_masks_are_one_sentence(tmp_path: Path, case: str) -> None:
    content, sentence = BROKEN_PALETTES[case]
    one_sentence(sentence, "voc", voc(tmp_path, palette=content), masks="true")


def test_links_out_of_the_root(tmp_path: Path) -> None:
    root = voc(tmp_path / "root")
    (tmp_path / "a.xml").write_text(XML)
    (tmp_path / "a.png").write_bytes(GOOD)
    mask = root / "VOC2007" / "SegmentationClass" / "000001.png"
    mask.unlink()
    mask.symlink_to(tmp_path / "a.png")
    assert len(load_dataset("voc", root)) == 1  # which needs no mask
    one_sentence("is a link, or below one, to .*outside the data root", "voc", root, masks="true")
    note = root / "VOC2007" / "Annotations" / "000001.xml"
    note.unlink()
    note.symlink_to(tmp_path / "a.xml")
    one_sentence("is a link, or below one, to .*outside the data root", "voc", root)
    (sample,) = load_dataset("voc", root, dataset_args={"masks": "true", "links": "follow"})
    assert sample.mask().foreground.all()


def dogs(root: Path, xml: str = XML) -> Path:
    name = "n02085620-Chihuahua/n02085620_1"
    for part in ("train", "test"):
        savemat(root / f"{part}_list.mat", {"file_list": np.array([[f"{name}.jpg"]], object), "labels": [[1]]})
    path = root / "Annotation" / name
    path.parent.mkdir(parents=True)
    path.write_text(xml)
    return root


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "has a document type declaration"),
        (XML.replace(SIZE, ""), "should have one <size>"),
        (XML.replace(OBJECT, ""), "has no box; annotate it or remove it from the split"),
        (XML.replace(">30<", ">0<"), r"inverted or non-finite box \[1.0, 2.0, 0.0, 20.0\] \(inclusive corners"),
    ],
)
def test_broken_annotations_of_dogs_are_one_sentence(tmp_path: Path, xml: str, sentence: str) -> None:
    one_sentence(sentence, "stanford-dogs", dogs(tmp_path, xml))


def test_annotations_of_dogs_that_are_no_files(tmp_path: Path) -> None:
    path = dogs(tmp_path) / "Annotation" / "n02085620-Chihuahua" / "n02085620_1"
    assert len(load_dataset("stanford-dogs", tmp_path)) == 1
    path.unlink()
    os.mkfifo(path)
    one_sentence("is not readable XML .it is a pipe", "stanford-dogs", tmp_path)
    path.unlink()
    path.symlink_to("/etc/hostname")
    one_sentence("is a link, or below one, to /etc/hostname, outside the data root", "stanford-dogs", tmp_path)
