"""Stanford Cars in both published layouts, written by scipy as MATLAB would; against torchvision's reader."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import StanfordCars

import wsol
from wsol.datasets import load_dataset
from wsol.errors import InputError

NAMES = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"]
BOXES = [(1, 1, 1, 1), (5, 3, 60, 40), (2, 2, 30, 20)]  # the top-left pixel; up to the last one; in between


def structs(fields: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    array = np.zeros((1, len(rows)), dtype=[(name, object) for name in fields])
    for i, row in enumerate(rows):
        array[0, i] = tuple(value if isinstance(value, str) else np.array([[value]]) for value in row)
    return array


def cells(texts: Sequence[str]) -> Any:
    array = np.empty((1, len(texts)), object)
    array[0, :] = texts
    return array


CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


@pytest.fixture
def devkit(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    home = tmp_path / "stanford_cars"
    (home / "devkit").mkdir(parents=True)
    for part in ("train", "test"):
        count = 20 if part == "train" else 3
        rows = [(*BOXES[i % 3], np.uint8(3 - i % 3), f"{i + 1:05d}.jpg") for i in range(count)]
        for row in rows:
            draw(home / f"cars_{part}" / row[-1], (60, 40))
        annotations = structs((*CORNERS, "class", "fname"), rows)
        name = "devkit/cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        scipy.io.savemat(home / name, {"annotations": annotations}, do_compression=part == "test")
    scipy.io.savemat(home / "devkit" / "cars_meta.mat", {"class_names": cells(NAMES)})
    return tmp_path


def test_by_hand(devkit: Path) -> None:
    data = load_dataset("stanford-cars", devkit)
    assert data.classes == tuple(NAMES)
    assert [sample.image_id for sample in data] == [f"cars_test/{i:05d}.jpg" for i in (1, 2, 3)]
    assert [sample.label for sample in data] == [2, 1, 0]  # published from 1
    assert [sample.edges.tolist() for sample in data] == [[[0, 0, 1, 1]], [[4, 2, 60, 40]], [[1, 1, 30, 20]]]
    assert [len(load_dataset("stanford-cars", devkit, split)) for split in ("train", "val")] == [18, 2]
    box = wsol.score(dataset=data, baseline="full-image", protocol="exact").predictions
    assert box["iou"].tolist() == pytest.approx([1 / 2400, 56 * 38 / 2400, 29 * 19 / 2400])


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_and_files_are_those_of_torchvision(devkit: Path, split: str) -> None:
    expected = StanfordCars(devkit, split)
    pairs = [(Path(path).relative_to(devkit / "stanford_cars").as_posix(), label) for path, label in expected._samples]
    data = [sample for part in {"test": ("test",), "train": ("train", "val")}[split] for sample in _load(devkit, part)]
    assert sorted((sample.image_id, sample.label) for sample in data) == sorted(pairs)
    assert [*_load(devkit, "test").classes] == expected.classes


def _load(root: Path, split: str) -> wsol.datasets.Dataset:
    return load_dataset("stanford-cars", root, split)


def test_labels_of_the_test_set_in_the_devkit(devkit: Path) -> None:
    before = load_dataset("stanford-cars", devkit).signature
    home = devkit / "stanford_cars"
    shutil.move(home / "cars_test_annos_withlabels.mat", home / "devkit")
    assert load_dataset("stanford-cars", home).signature == before
    (home / "devkit" / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(InputError, match=r"withlabels\.mat is missing.* classes of the test images, which cars_test"):
        load_dataset("stanford-cars", home)


def test_one_file_for_all_images(tmp_path: Path, draw: Callable[..., Path]) -> None:
    rows = [
        (f"car_ims/{i + 1:06d}.jpg", *BOXES[i % 3], np.uint8(1 + i % 3), np.uint8(i % 2)) for i in range(20)
    ]  # the fields in another order than in the devkit
    for row in rows:
        draw(tmp_path / row[0], (60, 40))
    fields = ("relative_im_path", *CORNERS, "class", "test")
    annotations = {"annotations": structs(fields, rows), "class_names": cells(NAMES)}
    scipy.io.savemat(tmp_path / "cars_annos.mat", annotations)
    data = load_dataset("stanford-cars", tmp_path)
    assert [sample.image_id for sample in data] == [f"car_ims/{i:06d}.jpg" for i in range(2, 21, 2)]
    assert data.samples[0].label == 1
    assert data.samples[0].edges.tolist() == [[4, 2, 60, 40]]
    assert [len(load_dataset("stanford-cars", tmp_path, split)) for split in ("train", "val")] == [9, 1]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ((1, 1, 5, 5, 4, "00001.jpg"), "00001.jpg has the class 4; restore the file, whose classes are 1 to 3"),
        ((1, 1, 5, 5, 0, "00001.jpg"), "has the class 0"),
        ((1, 1, 5, 5, np.nan, "00001.jpg"), "has the class nan"),
        ((1, 1, 5, 5, 1.5, "00001.jpg"), "has the class 1.5"),
        ((np.nan, 1, 5, 5, 1, "00001.jpg"), "empty, inverted or non-finite box"),
        ((5, 1, 3, 5, 1, "00001.jpg"), "empty, inverted or non-finite box"),
        ((1, 1, 5, 5, 1, "../../etc/passwd"), "is not a path below"),
        ((1, 1, 5, 5, 1, 7), r"annotations\(1\)\.fname should be a text"),
        ((1, "1", 5, 5, 1, "00001.jpg"), r"annotations\(1\)\.bbox_y1 should be a number"),
        ((1, 1, 5, 5, 1, "a\nb.jpg"), "has a character that cannot be printed"),
    ],
)
def test_a_damaged_annotation_is_one_sentence(devkit: Path, row: tuple[Any, ...], sentence: str) -> None:
    annotations = structs((*CORNERS, "class", "fname"), [row])
    scipy.io.savemat(devkit / "stanford_cars" / "cars_test_annos_withlabels.mat", {"annotations": annotations})
    with pytest.raises(InputError, match=sentence) as error:
        load_dataset("stanford-cars", devkit)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_one_sentence(devkit: Path) -> None:
    path = devkit / "stanford_cars" / "devkit" / "cars_meta.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cars_meta\.mat is not a readable \.mat file with the class names"):
        load_dataset("stanford-cars", devkit)
    scipy.io.savemat(path, {"other": 1})
    with pytest.raises(InputError, match="has no variable 'class_names'"):
        load_dataset("stanford-cars", devkit)
