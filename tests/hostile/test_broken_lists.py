"""Lists that are broken, refer to other files, or have values that no table can hold: one sentence each."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.datasets import Dataset, Sample, check_dataset, load_dataset, read_image
from wsol.datasets.base import as_boxes
from wsol.errors import InputError

pytestmark = pytest.mark.slow

HEADER = "image_id,label,x0,y0,x1,y1\n"
ROW = ",0,0,0,1,1\n"
CLIMBS = r"is not a path below .*; move the file there and list its relative path, without '\.\.'"


def csv(root: Path, text: str | bytes) -> Path:
    (root / "boxes.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def one_sentence(sentence: str, name: str, root: Path, split: str = "test", **arguments: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        load_dataset(name, root, split, arguments)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 2000


BROKEN_CSV = {
    "climbs": (HEADER + "../x.jpg" + ROW, r"boxes\.csv: '\.\./x\.jpg' " + CLIMBS),
    "climbs inside": (HEADER + "a/../../x.jpg" + ROW, r"'a/\.\./\.\./x\.jpg' " + CLIMBS),
    "absolute": (HEADER + "/etc/passwd" + ROW, "'/etc/passwd' " + CLIMBS),
    "nameless": (HEADER + ROW, "'' " + CLIMBS),
    "empty": ("", "lacks the columns image_id, label, x0, y0, x1, y1"),
    "blank lines": ("\n\n\n", "lacks the columns"),
    "no header": ("a.jpg,0,0,0,1,1\n", "has the column '0' twice; name each column once"),
    "a column twice": (HEADER.replace("y1", "x0") + "a" + ROW, "has the column 'x0' twice; name each column once"),
    "a short row": (HEADER + "a.jpg,0\n", "line 2: the row does not have the 6 fields of the header"),
    "a quote not closed": (HEADER + "a" + ROW + '"b' + ROW + "c" + ROW, "line 3: unexpected end of data; fix"),
    "after a quote": (HEADER + '"a"b' + ROW, "line 2: ',' expected after '\"'; fix the line"),
    "a long field": (HEADER + "a" * 200_000 + ROW, "line 2: field larger than field limit"),
    "a long field behind": (HEADER + "\n" * 9 + "a" * 200_000 + ROW, "line 11: field larger than field limit"),
    "NUL": (HEADER + "a\0" + ROW, r"line 2: the control character '\\x00' is not allowed; remove it"),
    "escape": (HEADER + "\x1b[31ma" + ROW, r"line 2: the control character '\\x1b'"),
    "vertical tab": (HEADER + "a\x0bb" + ROW, r"line 2: the control character '\\x0b'"),
    "file separator": (HEADER + "a\x1cb" + ROW, r"line 2: the control character '\\x1c'"),
    "line separator": (HEADER + "a\u2028b" + ROW, r"line 2: the control character '\\u2028'"),
    "next line": (HEADER + "a\x85b" + ROW, r"line 2: the control character '\\x85'"),
    "UTF-16": ((HEADER + "a" + ROW).encode("utf-16"), "is not UTF-8 text .invalid start byte at byte 0.; save it as"),
    "UTF-16 without mark": ((HEADER + "a" + ROW).encode("utf-16-le"), r"line 1: .*'\\x00'.*UTF-8 if it has another"),
    "latin-1": ((HEADER + "é" + ROW).encode("latin-1"), "is not UTF-8 text .invalid continuation byte at byte 27"),
    "half a pair": (HEADER.encode() + b"\xed\xa0\x80" + ROW.encode(), "is not UTF-8 text"),
    "an id of two lines": (HEADER + '"a\nb"' + ROW, r"the id 'a\\nb' .* cannot be printed; rename the image"),
    "a class of two lines": (HEADER + 'x,"a\nb",0,0,1,1\n', r"the name of class 0, 'a\\nb', has a character that"),
    "disagreeing lines": (HEADER + '"a\nb",0,0,0,1,1\n"a\nb",1,0,0,1,1\n', "label, size or split of a b differ"),
    "a negative label": (HEADER + "a,-7,0,0,1,1\n", "labels range from -7 to -7; number classes from 0"),
    "a huge label": (HEADER + "a,1e300,0,0,1,1\n", "labels range from .*; number classes from 0"),
    "half a label": (HEADER + "a,1.5,0,0,1,1\n", "'1.5' is not an integer"),
    "ten thousand digits": (HEADER + f"a,0,0,0,1,{'9' * 10_000}\n", r"'9{120}'\.\.\. is not a number"),
    "a huge size": (HEADER.replace("\n", ",width,height\n") + "a,0,0,0,1,1,1e9,1e9\n", "has the size 1000000000 x 1"),
    "a negative size": (HEADER.replace("\n", ",width,height\n") + "a,0,0,0,1,1,-5,5\n", "has the size -5 x 5"),
    "half a size": (HEADER.replace("\n", ",width,height\n") + "a,0,0,0,1,1,,5\n", "'' is not a number"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_CSV)
def test_a_broken_csv_file_is_one_sentence(tmp_path: Path, case: str) -> None:
    text, sentence = BROKEN_CSV[case]
    one_sentence(sentence, "csv", csv(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "a.jpg" + ROW + "b.jpg" + ROW,
        "\ufeff" + HEADER + "a.jpg" + ROW + "b.jpg" + ROW,
        (HEADER + "a.jpg" + ROW + "b.jpg" + ROW).replace("\n", "\r\n"),
        (HEADER + "a.jpg" + ROW + "b.jpg" + ROW).replace("\n", "\r"),
        HEADER + "\n" + "a.jpg" + ROW + "\n\n" + "b.jpg" + ROW.rstrip(),
        HEADER.replace("\n", ",note\n") + 'a.jpg,0,0,0,1,1,"two\nlines, ""quoted"""\nb.jpg,0,0,0,1,1,\n',
    ],
    ids=["plain", "byte order mark", "CRLF", "lone CR", "blank lines", "line breaks in quotes"],
)
def test_csv_as_programs_write_it(tmp_path: Path, text: str) -> None:
    assert [s.image_id for s in load_dataset("csv", csv(tmp_path, text))] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "name", ["a\u00a0b", "اَ\u200cب", "a\u3000b", "é" * 300, "👩\u200d🚀", "..a/b..c", "a;b'c", "1e5"]
)
def test_names_that_are_odd_but_names(tmp_path: Path, name: str) -> None:
    (sample,) = data = load_dataset("csv", csv(tmp_path, f"{HEADER}{name},{name}s,0,0,1,1\n"))
    assert (sample.image_id, data.classes) == (name, (f"{name}s",))


def test_the_number_of_a_row_is_that_of_its_first_line(tmp_path: Path) -> None:
    text = HEADER.replace("\n", ",note\n") + 'a,0,0,0,1,1,"x\ny\nz"\nb,0,0,0,1,x,\n'
    one_sentence("line 5: 'x' is not a number", "csv", csv(tmp_path, text))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Path.mkdir, r"boxes\.csv cannot be read \(it is a folder\); it should be a file with image_id"),
        (os.mkfifo, r"boxes\.csv cannot be read \(it is a pipe\)"),
        (lambda path: path.symlink_to("/dev/zero"), r"boxes\.csv cannot be read \(it is a device\)"),
        (lambda path: path.symlink_to(path), r"boxes\.csv cannot be read \(Too many levels of symbolic links\)"),
        (lambda path: None, r"boxes\.csv is missing: it should contain image_id,label"),
    ],
    ids=["folder", "pipe", "device", "loop", "nothing"],
)
def test_a_list_that_is_no_file(tmp_path: Path, make: Callable[[Path], None], sentence: str) -> None:
    make(tmp_path / "boxes.csv")
    one_sentence(sentence, "csv", tmp_path)


METADATA = {"image_ids": "a.png\n", "class_labels": "a.png,0\n", "image_sizes": "a.png,9,8\n",
            "localization": "a.png,0,0,8,7\n"}  # fmt: skip
CUB = {"classes": "1 Bird\n", "images": "1 a/b.jpg\n", "image_class_labels": "1 1\n", "train_test_split": "1 0\n",
       "bounding_boxes": "1 1 2 3 4\n"}  # fmt: skip
TINY = {"wnids": "n1\nn2\n", "words": "n1\tfish\n", "val/val_annotations": "a.png\tn1\t0\t0\t1\t1\n"}
PETS = {"annotations/test": "a_1 1 1 1\n", "annotations/trainval": "a_2 1 1 1\n"}
ILSVRC = {"LOC_synset_mapping": "n1 fish\n", "ILSVRC/ImageSets/CLS-LOC/val": "ILSVRC2012_val_00000001 1\n"}
LISTS = {"metadata": METADATA, "cub": CUB, "tiny-imagenet": TINY, "oxford-pets": PETS, "ilsvrc": ILSVRC}


def write(root: Path, name: str, **changes: str) -> Path:
    folder = root / "test" if name == "metadata" else root
    for file, text in (LISTS[name] | changes).items():
        path = folder / f"{file}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


@pytest.mark.parametrize(
    ("name", "list_", "text", "sentence"),
    [
        ("metadata", "image_ids", "b.png\n", r"localization\.txt has a box for a.png, which image_ids.txt does not"),
        ("metadata", "image_ids", "a.png\nb.png\n", r"class_labels\.txt lacks 1 images of image_ids.txt, such as b"),
        ("metadata", "image_ids", "a.png\na.png\n", "a.png is listed twice"),
        ("metadata", "image_ids", "", "a box for a.png, which image_ids.txt does not list"),
        (
            "metadata",
            "class_labels",
            "a.png,0\na.png,1\n",
            "class_labels.txt has two different entries for a.png; keep one line",
        ),
        ("metadata", "class_labels", "a.png,-1\n", "a.png: '-1' is not a class; number classes from 0"),
        ("metadata", "class_labels", "a.png,1e300\n", "a.png: '1e300' is not a class; number classes from 0"),
        ("metadata", "image_sizes", "a.png,9,8\na.png,9,9\n", "image_sizes.txt has two different entries for a.png"),
        ("metadata", "image_sizes", "a.png,1e9,1e9\n", "has the size 1000000000 x 1000000000"),
        ("metadata", "localization", "a.png\n", "line 1: 'a.png' should be path,x0,y0,x1,y1"),
        ("metadata", "localization", "a.png,0,0,inf,7\n", r"localization\.txt, a.png: 'inf' is not a number"),
        (
            "metadata",
            "localization",
            f"a.png{'9' * 10_000},0,0,8,7\n",
            r"a box for a\.png9{1000}.*\.\.\., which image_ids",
        ),
        ("metadata", "localization", "x" * 10**6, r"line 1: 'x{120}'\.\.\. should be path"),
        ("cub", "images", "1 ../../etc/passwd\n", r"images\.txt: '\.\./\.\./etc/passwd' " + CLIMBS),
        ("cub", "images", "1 /etc/passwd\n", "'/etc/passwd' " + CLIMBS),
        (
            "cub",
            "image_class_labels",
            "1 1\n1 2\n",
            "image_class_labels.txt has two different entries for 1; keep one line",
        ),
        ("cub", "image_class_labels", "1 1e12\n", "image 1: '1e12' is not a class; number classes from 1"),
        ("cub", "image_class_labels", "1 0\n", "image 1: '0' is not a class; number classes from 1"),
        ("cub", "image_class_labels", "1 7\n", "has label 6, outside 0 to 0"),
        ("cub", "train_test_split", "1 2\n", r"image 1 should be 1 \(train\) or 0 \(test\)"),
        ("cub", "bounding_boxes", "1 1 2 3 1e400\n", "image 1: '1e400' is not a number"),
        ("cub", "classes", "1 a\x0bb\n", r"classes\.txt, line 1: the control character '\\x0b'"),
        ("tiny-imagenet", "val/val_annotations", "../a.png\tn1\t0\t0\t1\t1\n", r"'\.\./a\.png' " + CLIMBS),
        ("tiny-imagenet", "val/val_annotations", "a.png\tn3\t0\t0\t1\t1\n", "a.png has the synset 'n3', which"),
        ("tiny-imagenet", "wnids", "n1\nn2\nn1\n", "wnids.txt lists 'n1' twice; keep one line"),
        ("oxford-pets", "annotations/test", "../../etc/passwd 1 1 1\n", r"'\.\./\.\./etc/passwd\.jpg' " + CLIMBS),
        ("oxford-pets", "annotations/test", "a_1 1e9 1 1\n", "a_1: '1e9' is not a class; number classes from 1"),
        ("oxford-pets", "annotations/test", "a_1\n", "a_1: '' is not a number"),
        ("ilsvrc", "ILSVRC/ImageSets/CLS-LOC/val", "../../x 1\n", r"val\.txt: '\.\./\.\./x\.JPEG' " + CLIMBS),
        (
            "ilsvrc",
            "LOC_synset_mapping",
            "n1 fish\nn1 bird\n",
            "LOC_synset_mapping.txt has two different entries for n1",
        ),
    ],
)
def test_a_broken_list_is_one_sentence(tmp_path: Path, name: str, list_: str, text: str, sentence: str) -> None:
    one_sentence(sentence, name, write(tmp_path, name, **{list_: text}))


@pytest.mark.parametrize(("image", "place"), [("../a.png", "images"), ("/etc/passwd", "images")])
def test_lists_with_images_stay_below_them(tmp_path: Path, image: str, place: str) -> None:
    changes = {key: text.replace("a.png", image) for key, text in METADATA.items()}
    root = write(tmp_path, "metadata", **changes)
    one_sentence(f"image_ids.txt: '{image}' {CLIMBS}", "metadata", root, **{place: str(tmp_path)})
    assert load_dataset("metadata", root).samples[0].path is None  # without a folder no file is opened


def test_masks_stay_below_their_folder(tmp_path: Path) -> None:
    root = write(tmp_path, "metadata", localization="a.png,../m.png,\n")
    one_sentence(rf"localization\.txt: '\.\./m\.png' {CLIMBS}", "metadata", root, masks=str(tmp_path))
    write(tmp_path, "metadata", localization="a.png,,\n")
    (tmp_path / "test" / "localization.txt").write_text("a.png,m,\na.png,,\n")
    one_sentence("a.png has a line without a mask", "metadata", root, masks=str(tmp_path))


def test_a_synset_of_wnids_is_no_way_out(tmp_path: Path) -> None:
    one_sentence(
        r"wnids\.txt: '\.\.' " + CLIMBS, "tiny-imagenet", write(tmp_path, "tiny-imagenet", wnids="..\n"), "val"
    )


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[Path, Path]:
    """A data set whose images are in another folder."""
    root, disk = tmp_path / "root", tmp_path / "disk"
    (root / "own").mkdir(parents=True)
    (disk / "deep").mkdir(parents=True)
    for path in (disk / "deep" / "a.png", disk / "a.png", root / "own" / "a.png"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return root, disk


def test_links_that_leave_the_data_root(elsewhere: tuple[Path, Path]) -> None:
    root, disk = elsewhere
    (root / "pics").symlink_to(disk)
    (root / "own" / "link.png").symlink_to(disk / "a.png")
    (root / "own" / "inner.png").symlink_to("a.png")
    for name in ("pics/a.png", "pics/deep/a.png", "own/link.png"):
        csv(root, HEADER + "own/a.png" + ROW + name + ROW)
        one_sentence(
            r"is a link, or below one, to .*disk.*, outside the data root; if the link is yours, give", "csv", root
        )
        (_, sample) = load_dataset("csv", root, dataset_args={"links": "follow"})
        assert read_image(sample)[1] == (4, 4)
    csv(root, HEADER + "own/inner.png" + ROW)
    assert len(load_dataset("csv", root)) == 1
    with pytest.raises(InputError, match="unknown links='yes'; give follow, or leave it out"):
        load_dataset("csv", root, dataset_args={"links": "yes"})


def test_folders_that_the_user_names_are_no_way_out(elsewhere: tuple[Path, Path]) -> None:
    root, disk = elsewhere
    csv(root, HEADER + "a.png" + ROW)
    assert load_dataset("csv", root, dataset_args={"images": str(disk)}).samples[0].path == disk / "a.png"
    assert len(load_dataset("csv", root, dataset_args={"images": "../disk"})) == 1
    (root.parent / "linked").symlink_to(root)
    csv(root, HEADER + "own/a.png" + ROW)
    assert len(load_dataset("csv", root.parent / "linked")) == 1  # the root itself may be a link
    (disk / "out.png").symlink_to(root / "own" / "a.png")
    csv(root, HEADER + "out.png" + ROW)
    assert len(load_dataset("csv", root, dataset_args={"images": str(disk)})) == 1  # both were named


def test_a_folder_whose_name_begins_alike_is_another(elsewhere: tuple[Path, Path]) -> None:
    root, _ = elsewhere
    (root.parent / "root2").mkdir()
    (root / "pics").symlink_to(root.parent / "root2")
    one_sentence("is a link, or below one, to .*root2, outside", "csv", csv(root, HEADER + "pics/a.png" + ROW))


def test_trimaps_and_masks_behind_links(elsewhere: tuple[Path, Path], tmp_path: Path) -> None:
    root, disk = elsewhere
    write(root, "oxford-pets")
    Image.fromarray(np.ones((4, 4), np.uint8)).save(disk / "a_1.png")
    (root / "annotations" / "trimaps").symlink_to(disk)
    one_sentence("trimaps is a link, or below one, to", "oxford-pets", root)
    assert len(load_dataset("oxford-pets", root, dataset_args={"links": "follow"})) == 1
    write(root, "metadata", localization="a.png,m/a_1.png,\n")
    (root / "m").symlink_to(disk)
    one_sentence("m is a link, or below one, to", "metadata", root, masks=str(root))
    assert len(load_dataset("metadata", root, dataset_args={"masks": str(root), "links": "follow"})) == 1


IMAGE_IDS = {"openimages30k": "test/0ph39/a.jpg", "camelyon16-512": "camelyon16/Patch_a.png"}


@pytest.mark.parametrize("name", [*IMAGE_IDS, "glas", "isic2017"])
def test_masks_of_published_layouts_behind_links(elsewhere: tuple[Path, Path], name: str) -> None:
    root, disk = elsewhere
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(disk / "mask.png")
    if name in IMAGE_IDS:
        image = IMAGE_IDS[name]
        folder = root / ("metadata/OpenImages" if name == "openimages30k" else "fold-0") / "test"
        folder.mkdir(parents=True)
        (folder / "image_ids.txt").write_text(f"{image}\n")
        (folder / "class_labels.txt").write_text(f"{image},0\n")
        (folder / "image_sizes.txt").write_text(f"{image},4,4\n")
        (folder / "localization.txt").write_text(f"{image},m/mask.png,\n")
        link = root / "m" / "mask.png"
    elif name == "glas":
        (root / "Grade.csv").write_text("name,patient ID, grade (GlaS)\ntestA_1,1, benign\n")
        link = root / "testA_1_anno.png"
    else:
        (root / "ISIC-2017_Test_v2_Part3_GroundTruth.csv").write_text(
            "image_id,melanoma,seborrheic_keratosis\nISIC_1,0,0\n"
        )
        link = root / "ISIC-2017_Test_v2_Part1_GroundTruth" / "ISIC_1_segmentation.png"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(disk / "mask.png")
    one_sentence("is a link, or below one, to .*disk/mask.png, outside the data root", name, root)
    assert len(load_dataset(name, root, dataset_args={"links": "follow"})) == 1


@pytest.mark.parametrize("name", [b"n1_\xff.JPEG", b"n1_\n.JPEG", b"n1_\x1b[2J.JPEG"])
def test_names_of_files_that_no_table_can_hold(tmp_path: Path, name: bytes) -> None:
    write(tmp_path, "ilsvrc")
    folder = tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "train" / "n1"
    folder.mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"")
    one_sentence(r"ilsvrc train: the id 'n1_\\.* cannot be printed; rename the image", "ilsvrc", tmp_path, "train")


@pytest.mark.parametrize(
    ("image_id", "classes", "sentence"),
    [
        ("\ud800", ("a",), r"the id '\\ud800' is empty or has a character that cannot be printed"),
        ("", ("a",), "the id '' is empty"),
        ("x", ("\udfff",), r"the name of class 0, '\\udfff', has a character that cannot be printed; rename it"),
        ("x", ("a", "b\x07"), r"the name of class 1, 'b\\x07'"),
    ],
)
def test_a_data_set_built_in_python_is_checked_too(image_id: str, classes: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_dataset(Dataset("own", "test", (Sample(image_id, 0, as_boxes([[0, 0, 1, 1]]), "edges"),), classes))


def test_a_long_list_of_boxes_makes_no_long_sentence() -> None:
    boxes = as_boxes([[0, 0, 1, 1]] * 10_000 + [[5, 5, 1, 1]])
    with pytest.raises(InputError, match=r"non-finite box \[5.0, 5.0, 1.0, 1.0\] .edges") as raised:
        check_dataset(Dataset("own", "test", (Sample("x", 0, boxes, "edges"),), ("a",)))
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("case", ["climbs", "escape", "UTF-16", "an id of two lines", "a quote not closed"])
def test_the_command_says_it_once(tmp_path: Path, command_error: Callable[..., str], case: str) -> None:
    assert "csv" in command_error("csv", csv(tmp_path, BROKEN_CSV[case][0]))


def test_the_command_on_lists_of_others(tmp_path: Path, command_error: Callable[..., str]) -> None:
    assert "is not a path below" in command_error("cub", write(tmp_path, "cub", images="1 ../../etc/passwd\n"))
    (tmp_path / "a").symlink_to("/")
    csv(tmp_path, HEADER + "a/etc/passwd" + ROW)
    assert "a/etc is a link, or below one, to /etc, outside the data root" in command_error("csv", tmp_path)
