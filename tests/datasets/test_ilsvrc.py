"""Both layouts of ILSVRC, written small."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from wsol.datasets import load_dataset
from wsol.errors import InputError
from wsol.list import main as list_

WNIDS = ("n03000000", "n01000000", "n02000000")  # on disk out of order: label 0 is n01000000

XML = """<annotation><filename>{name}</filename><size><width>{w}</width><height>{h}</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{wnid}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
</object>"""


def annotate(path: Path, size: tuple[int, int], wnid: str, *boxes: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(OBJECT.format(*box, wnid=wnid) for box in boxes)
    path.write_text(XML.format(name=path.stem, w=size[0], h=size[1], objects=objects))


def name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


@pytest.fixture
def kaggle(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    images, xml = (tmp_path / "ILSVRC" / part / "CLS-LOC" for part in ("Data", "Annotations"))
    (tmp_path / "LOC_synset_mapping.txt").write_text("".join(f"{w} thing {w}, other name\n" for w in WNIDS))
    lists = tmp_path / "ILSVRC" / "ImageSets" / "CLS-LOC"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text(f"{name(2)} 1\n{name(7)} 2\n")
    draw(images / "val" / f"{name(2)}.JPEG", (227, 227))  # a squashed copy of 500 x 375
    annotate(xml / "val" / f"{name(2)}.xml", (500, 375), WNIDS[0], (0, 0, 500, 374), (10, 20, 30, 40))
    draw(images / "val" / f"{name(7)}.JPEG", (50, 40), "L")
    annotate(xml / "val" / f"{name(7)}.xml", (50, 40), WNIDS[1], (5, 6, 7, 8))
    for i in range(24):
        wnid = WNIDS[i % 2]
        draw(images / "train" / wnid / f"{wnid}_{i}.JPEG")
        if i < 20:
            annotate(xml / "train" / wnid / f"{wnid}_{i}.xml", (60, 40), wnid, (1, 2, 3, 4))
    return tmp_path


def test_kaggle_layout_by_hand(kaggle: Path) -> None:
    data = load_dataset("ilsvrc", kaggle)
    first, second = data
    assert [first.image_id, second.image_id] == [name(2), name(7)]
    assert [first.label, second.label] == [2, 0]
    assert data.classes == ("thing n01000000, other name", "thing n02000000, other name", "thing n03000000, other name")
    assert first.boxes.tolist() == [[0, 0, 500, 374], [10, 20, 30, 40]]  # published corners, untouched
    assert first.edges.tolist() == [[0, 0, 501, 375], [10, 20, 31, 41]]  # inclusive; x1 = width is a pixel too far
    assert first.size == (500, 375)
    assert second.size == (50, 40)


def test_blacklisted_images_count_in_classification_only(kaggle: Path) -> None:
    (kaggle / "blacklist.txt").write_text("2\n36\n")
    data = load_dataset("ilsvrc", kaggle, dataset_args={"blacklist": str(kaggle / "blacklist.txt")})
    assert [(sample.image_id, sample.class_only, len(sample.boxes)) for sample in data] == [
        (name(2), True, 0),
        (name(7), False, 1),
    ]
    assert [sample.label for sample in data] == [2, 0]
    assert [sample.image_id for sample in data.localizable()] == [name(7)]
    plain = load_dataset("ilsvrc", kaggle)
    assert not any(sample.class_only for sample in plain)
    assert "blacklist" not in plain.signature
    digest = hashlib.sha256(f"{name(2)}\0{2}".encode()).hexdigest()[:8]
    assert data.localizable().signature.startswith(f"ilsvrc-test(blacklist:{digest})#1:")
    (kaggle / "blacklist.txt").write_text("7\n")
    other = load_dataset("ilsvrc", kaggle, dataset_args={"blacklist": str(kaggle / "blacklist.txt")})
    assert other.origin != data.origin


def test_val_is_a_tenth_of_the_training_images_with_boxes(kaggle: Path) -> None:
    val, train = load_dataset("ilsvrc", kaggle, "val"), load_dataset("ilsvrc", kaggle, "train")
    assert (len(val), len(train)) == (2, 22)
    assert not {s.image_id for s in val} & {s.image_id for s in train}
    assert "tenth-of-train,seed=0" in val.signature
    assert all(len(s.boxes) == 0 for s in train)
    assert {s.label for s in train} == {0, 2}


@pytest.mark.parametrize("images", ["val", "val/n01000000"])
@pytest.mark.parametrize("xml", ["bbox", "bbox/val", "Annotations/CLS-LOC/val"])
def test_classic_layout(tmp_path: Path, draw: Callable[..., Path], images: str, xml: str) -> None:
    (tmp_path / "synsets.txt").write_text("\n".join(WNIDS))
    draw(tmp_path / images / f"{name(9)}.JPEG")
    annotate(tmp_path / xml / f"{name(9)}.xml", (60, 40), WNIDS[1], (1, 2, 3, 4))
    (sample,) = load_dataset("ilsvrc", tmp_path)
    assert (sample.image_id, sample.label, sample.size) == (name(9), 0, (60, 40))
    assert sample.path == tmp_path / images / f"{name(9)}.JPEG"


SUFFIXES = pytest.mark.parametrize("suffix", [".JPEG", ".jpeg", ".jpg", ".JPG", ".png"])


def sort_into_synsets(folder: Path, suffix: str) -> None:
    """Do what the usual preparation script does to validation images, with images of another suffix."""
    for path, wnid in zip(sorted(folder.glob("*.JPEG")), WNIDS, strict=False):
        (folder / wnid).mkdir()
        path.rename(folder / wnid / f"{path.stem}{suffix}")


@SUFFIXES
def test_kaggle_layout_after_the_preparation_script(kaggle: Path, suffix: str) -> None:
    before = load_dataset("ilsvrc", kaggle)
    images = kaggle / "ILSVRC" / "Data" / "CLS-LOC"
    sort_into_synsets(images / "val", suffix)
    for path in (images / "train").glob("*/*.JPEG"):
        path.rename(path.with_suffix(suffix))
    data = load_dataset("ilsvrc", kaggle)
    assert data.signature == before.signature
    assert [s.path for s in data] == [
        images / "val" / WNIDS[0] / f"{name(2)}{suffix}",
        images / "val" / WNIDS[1] / f"{name(7)}{suffix}",
    ]
    assert [s.label for s in data] == [2, 0]  # those of the XML files
    assert len(load_dataset("ilsvrc", kaggle, "train")) == 22


@SUFFIXES
def test_classic_layout_after_the_preparation_script(tmp_path: Path, draw: Callable[..., Path], suffix: str) -> None:
    (tmp_path / "synsets.txt").write_text("\n".join(WNIDS))
    for number, wnid in ((9, WNIDS[1]), (5, WNIDS[0])):
        draw(tmp_path / "val" / f"{name(number)}.JPEG")
        annotate(tmp_path / "val" / f"{name(number)}.xml", (60, 40), wnid, (1, 2, 3, 4))  # where the archive puts it
    for i in range(10):
        draw(tmp_path / "train" / WNIDS[2] / f"{WNIDS[2]}_{i}.png").rename(
            tmp_path / "train" / WNIDS[2] / f"{WNIDS[2]}_{i}{suffix}"
        )
    before = load_dataset("ilsvrc", tmp_path)
    sort_into_synsets(tmp_path / "val", suffix)
    (tmp_path / "val" / "._hidden.jpg").touch()
    data = load_dataset("ilsvrc", tmp_path)
    assert data.signature == before.signature
    assert [s.path.parent.name for s in data] == [WNIDS[0], WNIDS[1]]
    assert all(s.path.is_file() for s in data)
    assert len(load_dataset("ilsvrc", tmp_path, "train", {"v2": str(tmp_path)})) == 10


def test_annotations_may_be_sorted_into_synsets_too(kaggle: Path, draw: Callable[..., Path]) -> None:
    xml = kaggle / "ILSVRC" / "Annotations" / "CLS-LOC" / "val"
    before = load_dataset("ilsvrc", kaggle)
    for path in sorted(xml.glob("*.xml")):
        (xml / WNIDS[0]).mkdir(exist_ok=True)
        path.rename(xml / WNIDS[0] / path.name)
    assert load_dataset("ilsvrc", kaggle).signature == before.signature
    classic = kaggle / "classic"
    (classic).mkdir()
    (classic / "synsets.txt").write_text("\n".join(WNIDS))
    draw(classic / "val" / f"{name(9)}.JPEG")
    annotate(classic / "bbox_train" / WNIDS[2] / f"{WNIDS[2]}_1.xml", (60, 40), WNIDS[2], (1, 2, 3, 4))
    annotate(classic / "bbox_val" / WNIDS[1] / f"{name(9)}.xml", (60, 40), WNIDS[1], (1, 2, 3, 4))
    assert [s.label for s in load_dataset("ilsvrc", classic)] == [0]


def test_a_copy_of_an_image_is_refused(kaggle: Path, draw: Callable[..., Path]) -> None:
    val = kaggle / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    draw(val / WNIDS[0] / f"{name(2)}.jpg")
    assert load_dataset("ilsvrc", kaggle).samples[0].path == val / f"{name(2)}.JPEG"  # where Kaggle has it
    (val / f"{name(2)}.JPEG").rename(val / f"{name(2)}.png")
    sentence = rf"{name(2)}.png and .*{name(2)}.jpg are two files of one name; keep one"
    with pytest.raises(InputError, match=sentence):
        load_dataset("ilsvrc", kaggle)
    classic = kaggle / "classic"
    (classic / "bbox").mkdir(parents=True)
    val.rename(classic / "val")
    annotate(classic / "bbox" / f"{name(2)}.xml", (60, 40), WNIDS[1], (1, 2, 3, 4))
    with pytest.raises(InputError, match=sentence):
        load_dataset("ilsvrc", classic)


def test_imagenet_is_another_name_of_ilsvrc(kaggle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset("imagenet", kaggle)
    assert (data.name, data.signature) == ("ilsvrc", load_dataset("ilsvrc", kaggle).signature)
    (kaggle / "datasets").mkdir()
    monkeypatch.chdir(kaggle)
    with pytest.raises(InputError, match=r"ilsvrc: there is no folder datasets/ilsvrc"):
        load_dataset("imagenet")


def test_the_list_has_one_line_for_both_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.split()[0] in ("ilsvrc", "imagenet")] == ["ilsvrc (or imagenet)"]


def test_classic_layout_of_the_training_set(tmp_path: Path, draw: Callable[..., Path]) -> None:
    (tmp_path / "synsets.txt").write_text("\n".join(WNIDS))
    draw(tmp_path / "val" / f"{name(9)}.JPEG")
    annotate(tmp_path / "bbox" / "val" / f"{name(9)}.xml", (60, 40), WNIDS[1], (1, 2, 3, 4))
    for i in range(10):
        draw(tmp_path / "train" / WNIDS[2] / f"{WNIDS[2]}_{i}.JPEG")
        annotate(tmp_path / "bbox" / "train" / WNIDS[2] / f"{WNIDS[2]}_{i}.xml", (60, 40), WNIDS[2], (1, 2, 3, 4))
    val, train = load_dataset("ilsvrc", tmp_path, "val"), load_dataset("ilsvrc", tmp_path, "train")
    assert (len(val), len(train), val.samples[0].label) == (1, 9, 1)
    assert val.samples[0].boxes.tolist() == [[1, 2, 3, 4]]


def test_a_thousand_synsets_are_a_class_list(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for number in range(1000):
        annotate(tmp_path / "bbox" / f"{name(number)}.xml", (60, 40), f"n{number:08d}", (1, 2, 3, 4))
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / "val" / f"{name(number)}.JPEG").touch()
    data = load_dataset("ilsvrc", tmp_path)
    assert [sample.label for sample in data] == [*range(1000)]


def test_classic_layout_without_a_class_list_does_not_guess(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "val" / f"{name(9)}.JPEG")
    annotate(tmp_path / "bbox" / f"{name(9)}.xml", (60, 40), WNIDS[1], (1, 2, 3, 4))
    with pytest.raises(InputError, match="1000 synsets cannot be determined, since only 1 occur"):
        load_dataset("ilsvrc", tmp_path)


def test_imagenetv2_serves_as_val(kaggle: Path) -> None:
    lists = kaggle / "v2"
    lists.mkdir()
    for file, line in (
        ("image_ids.txt", "val2/0/0.jpeg"),
        ("class_labels.txt", "val2/0/0.jpeg,1"),
        ("image_sizes.txt", "val2/0/0.jpeg,500,375"),
        ("localization.txt", "val2/0/0.jpeg,1,2,3,4"),
    ):
        (lists / file).write_text(line + "\n")
    data = load_dataset("ilsvrc", kaggle, "val", dataset_args={"v2": str(lists)})
    assert data.signature.startswith("ilsvrc-val(ImageNetV2)#1:")
    assert len(load_dataset("ilsvrc", kaggle, "train", dataset_args={"v2": str(lists)})) == 24


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda xml: xml.unlink(), "is missing: the image has no box"),
        (lambda xml: xml.write_text("<annotation>"), "is not readable XML"),
        (lambda xml: xml.write_text('<?xml version="1.0" encoding="klingon"?><a/>'), "is not readable XML"),
        (lambda xml: annotate(xml, (9, 9), "n09999999", (1, 2, 3, 4)), "'n09999999' is not one of the 3"),
        (lambda xml: annotate(xml, (9, 9), WNIDS[0]), "has no object"),
        (lambda xml: annotate(xml, (9, 9), WNIDS[0], ("a", 2, 3, 4)), "'a' is not a number"),
        (lambda xml: annotate(xml, (9, 9), WNIDS[0], (5, 2, 3, 4)), "empty, inverted or non-finite box"),
    ],
)
def test_broken_annotations_are_named(kaggle: Path, break_it: Callable[[Path], None], sentence: str) -> None:
    break_it(kaggle / "ILSVRC" / "Annotations" / "CLS-LOC" / "val" / f"{name(2)}.xml")
    with pytest.raises(InputError, match=sentence) as caught:
        load_dataset("ilsvrc", kaggle)
    assert name(2) in str(caught.value)


def test_a_foreign_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected Kaggle's folder ILSVRC/, or a folder val/"):
        load_dataset("ilsvrc", tmp_path)
