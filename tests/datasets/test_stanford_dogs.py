from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import wsol
from wsol.datasets import load_dataset
from wsol.errors import InputError

FOLDERS = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02094258-Norwich-type_terrier")


def write_list(path: Path, entries: list[tuple[str, int]]) -> None:
    """As MATLAB does: a cell array of file names, one of annotations, and a column of labels from 1."""
    cells = np.empty((2, len(entries), 1), object)
    for i, (image, _) in enumerate(entries):
        cells[:, i, 0] = image, image.removesuffix(".jpg")
    labels = np.array([[label] for _, label in entries], np.float64)
    savemat(path, {"file_list": cells[0], "annotation_list": cells[1], "labels": labels}, do_compression=True)


@pytest.fixture
def dogs(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    lists: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for i in range(24):
        label = i % 3
        image = f"{FOLDERS[label]}/{FOLDERS[label][:9]}_{i}.jpg"
        draw(tmp_path / "Images" / image)
        lists["test" if i < 3 else "train"].append((image, label + 1))
        box = "<bndbox><xmin>0</xmin><ymin>2</ymin><xmax>59</xmax><ymax>21</ymax></bndbox>"
        other = box.replace("<xmin>0", "<xmin>7").replace("<xmax>59", "<xmax>7")
        objects = [box, other] if i == 1 else [box]
        breed = FOLDERS[label].partition("-")[2]
        text = "".join(f"<object><name>{breed}</name><difficult>0</difficult>{each}</object>" for each in objects)
        path = tmp_path / "Annotation" / image.removesuffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<annotation><folder>02085620</folder><source><database>ImageNet database</database></source>"
            f"<size><width>60</width><height>40</height><depth>3</depth></size><segment>0</segment>{text}</annotation>"
        )
    for name, entries in lists.items():
        write_list(tmp_path / f"{name}_list.mat", entries)
    return tmp_path


def test_by_hand(dogs: Path) -> None:
    data = load_dataset("stanford-dogs", dogs)
    first, second, third = data
    assert first.image_id == "n02085620-Chihuahua/n02085620_0.jpg"
    assert [s.label for s in data] == [0, 1, 2]
    assert first.boxes.tolist() == [[0, 2, 59, 21]]
    assert first.edges.tolist() == [[0, 2, 60, 22]]  # pixels counted from 0, the last one included
    assert second.edges.tolist() == [[0, 2, 60, 22], [7, 2, 8, 22]]
    assert first.size == (60, 40)
    assert data.classes == ("Chihuahua", "Japanese spaniel", "Norwich-type terrier")
    assert data.synsets == ("n02085620", "n02085782", "n02094258")
    assert third.path == dogs / "Images" / FOLDERS[2] / "n02094258_2.jpg"


def test_splits(dogs: Path) -> None:
    parts = [load_dataset("stanford-dogs", dogs, part) for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [19, 2, 3]
    assert len({s.image_id for part in parts for s in part}) == 24
    assert parts[1].origin == "tenth-of-train,seed=0"
    assert all(not len(s.boxes) for s in parts[0])
    assert all(len(s.boxes) for s in parts[1])


def test_training_images_need_no_annotation(dogs: Path) -> None:
    for path in (dogs / "Annotation").glob("*/*"):
        path.unlink()
    assert len(load_dataset("stanford-dogs", dogs, "train")) == 19
    with pytest.raises(InputError, match=r"n02085620_0 is missing: the image has no box; add the file"):
        load_dataset("stanford-dogs", dogs)


def test_images_of_another_suffix(dogs: Path) -> None:
    before = load_dataset("stanford-dogs", dogs)
    for path in (dogs / "Images").rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))
    data = load_dataset("stanford-dogs", dogs)
    assert data.signature == before.signature
    assert all(sample.path.is_file() for sample in data)


def test_the_whole_image_is_right_where_the_box_fills_half_of_it(dogs: Path) -> None:
    """The boxes cover 20 of 40 rows: an IoU of exactly one half, which is a hit of ``exact``."""
    result = wsol.score(baseline="full-image", dataset="stanford-dogs", data_root=dogs, protocol="exact", bootstrap=0)
    values = dict(zip(result.metrics.metric, result.metrics.value, strict=True))
    assert (values["mean_iou"], values["gt_known_loc_acc"], values["corloc"]) == (50, 100, 100)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (
            [("a/b.jpg", 1)],
            "test_list.mat has images of a and of n02085620-Chihuahua with the label 1; restore the file",
        ),
        ([("n02085620-Chihuahua/b.jpg", 5)], "the labels in the lists leave out a class; restore the lists"),
        ([("n02085620-Chihuahua/b.jpg", 1.5)], "labels should be 1 numbers from 1 on, one per image; restore the file"),
        ([("n02085620-Chihuahua/b.jpg", 0)], "labels should be 1 numbers from 1 on, one per image"),
        ([("b.jpg", 1)], "'b.jpg' is not <synset>-<breed>/<image>; restore the file"),
        ([("n02085620-Chihuahua/../../../b.jpg", 1)], r"is not a path below .*Images"),
    ],
)
def test_lists_that_contradict_themselves(dogs: Path, entries: list[tuple[str, int]], sentence: str) -> None:
    write_list(dogs / "test_list.mat", entries)
    with pytest.raises(InputError, match=sentence):
        load_dataset("stanford-dogs", dogs)
