from collections.abc import Callable
from pathlib import Path

import pytest

from wsol.datasets import load_dataset
from wsol.errors import InputError


@pytest.fixture
def cub(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    home = tmp_path / "CUB_200_2011"
    lines: dict[str, list[str]] = {
        "classes": ["1 001.Black_footed_Albatross", "2 002.Laysan_Albatross"],
        "images": [],
        "image_class_labels": [],
        "train_test_split": [],
        "bounding_boxes": [],
    }
    for number in range(1, 23):
        label = 1 + number % 2
        file = f"{label:03d}.{('Black_footed', 'Laysan')[label - 1]}_Albatross/bird_{number:04d}.jpg"
        draw(home / "images" / file)
        lines["images"].append(f"{number} {file}")
        lines["image_class_labels"].append(f"{number} {label}")
        lines["train_test_split"].append(f"{number} {int(number > 2)}")
        lines["bounding_boxes"].append(f"{number} 5.0 7.0 30.0 20.5")
    for name, rows in lines.items():
        (home / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_by_hand(cub: Path) -> None:
    data = load_dataset("cub", cub)  # the folder above CUB_200_2011 will do
    first, second = data
    assert (first.label, second.label) == (1, 0)  # class numbers from 1 become labels from 0
    assert first.boxes.tolist() == [[5, 7, 35, 27.5]]  # x y w h
    assert first.edges.tolist() == [[5, 7, 35, 27.5]]
    assert first.size is None  # the frame is the file's own
    assert first.image_id == "002.Laysan_Albatross/bird_0001.jpg"
    assert data.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")


def test_splits(cub: Path) -> None:
    home = cub / "CUB_200_2011"
    parts = [{s.image_id for s in load_dataset("cub", home, part)} for part in ("train", "val", "test")]
    assert [*map(len, parts)] == [18, 2, 2]
    assert len(set.union(*parts)) == 22


def test_images_of_another_suffix(cub: Path, draw: Callable[..., Path]) -> None:
    before = load_dataset("cub", cub)
    for path in (cub / "CUB_200_2011" / "images").rglob("*.jpg"):
        path.rename(path.with_suffix(".jpeg"))
    data = load_dataset("cub", cub)
    assert data.signature == before.signature
    assert all(sample.path.is_file() for sample in data)
    first = data.samples[0].path
    draw(first.with_suffix(".png"))
    with pytest.raises(InputError, match=r"bird_0001.jpeg and .*bird_0001.png are two files of one name; keep one"):
        load_dataset("cub", cub)
    draw(first.with_suffix(".jpg"))  # the one that the list names
    assert load_dataset("cub", cub).samples[0].path == first.with_suffix(".jpg")


def test_cubv2_serves_as_val(cub: Path) -> None:
    lists = cub / "v2"
    lists.mkdir()
    for file, line in (
        ("image_ids.txt", "001.x/9.jpg"),
        ("class_labels.txt", "001.x/9.jpg,1"),
        ("image_sizes.txt", "001.x/9.jpg,50,40"),
        ("localization.txt", "001.x/9.jpg,1,2,3,4"),
    ):
        (lists / file).write_text(line + "\n")
    data = load_dataset("cub", cub, "val", dataset_args={"v2": str(lists), "v2_images": str(cub / "photos")})
    assert data.signature.startswith("cub-val(CUBV2)#1:")
    assert data.samples[0].path == cub / "photos" / "001.x" / "9.jpg"
    assert data.samples[0].edges.tolist() == [[1, 2, 4, 5]]  # these corners are inclusive
    assert len(load_dataset("cub", cub, "train", dataset_args={"v2": str(lists)})) == 20


def test_train_comes_without_boxes(cub: Path) -> None:
    assert all(len(sample.boxes) == 0 for sample in load_dataset("cub", cub, "train"))


def test_a_line_that_is_missing_is_named(cub: Path) -> None:
    path = cub / "CUB_200_2011" / "bounding_boxes.txt"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(InputError, match=r"bounding_boxes\.txt has no line for image 1"):
        load_dataset("cub", cub)
    path.unlink()
    with pytest.raises(InputError, match=r"bounding_boxes\.txt is missing: it should contain an image number, x, y"):
        load_dataset("cub", cub)
