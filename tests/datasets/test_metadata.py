from pathlib import Path

import pytest

from wsol.datasets import load_dataset
from wsol.errors import InputError

LISTS = {
    "image_ids.txt": "a/1,2.jpg\nb.jpg\n",
    "class_labels.txt": "b.jpg,4\na/1,2.jpg,0\n",
    "image_sizes.txt": "a/1,2.jpg,50,40\nb.jpg,9,8\n",
    "localization.txt": "b.jpg,0,0,8,7\na/1,2.jpg,1,2,3,4\na/1,2.jpg,5,6,7,8\n",
}


def write(folder: Path, **changes: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (LISTS | {f"{key}.txt": value for key, value in changes.items()}).items():
        (folder / name).write_text(text)
    return folder


def test_by_hand(tmp_path: Path) -> None:
    write(tmp_path / "val")
    data = load_dataset("metadata", tmp_path, "val")
    first, second = data
    assert (first.image_id, first.label, first.size) == ("a/1,2.jpg", 0, (50, 40))  # a comma may be in a path
    assert first.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert second.edges.tolist() == [[0, 0, 9, 8]]  # inclusive: this box is the whole 9 x 8 image
    assert first.path is None
    assert data.classes == ("0", "1", "2", "3", "4")
    with_images = load_dataset("metadata", tmp_path / "val", "val", dataset_args={"images": str(tmp_path)})
    assert with_images.samples[1].path == tmp_path / "b.jpg"
    assert with_images.fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"localization": "c.jpg,1,2,3,4\n"}, "a box for c.jpg, which image_ids.txt does not list"),
        ({"localization": "b.jpg,0,0,8,7\n"}, "a/1,2.jpg has no box"),
        ({"class_labels": "b.jpg,4\n"}, "class_labels.txt lacks 1 images of image_ids.txt, the first a/1,2.jpg"),
        ({"image_sizes": "b.jpg,4,4\n"}, "image_sizes.txt lacks 1 images"),
        ({"class_labels": "b.jpg,four\n"}, "b.jpg: 'four' is not a number"),
        ({"image_ids": "b.jpg\nb.jpg\na/1,2.jpg\n"}, "b.jpg is listed twice"),
    ],
)
def test_broken_lists_are_named(tmp_path: Path, changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_dataset("metadata", write(tmp_path, **changes), "val")


def test_another_split_is_not_taken_for_the_one_asked(tmp_path: Path) -> None:
    write(tmp_path / "val")
    with pytest.raises(InputError, match="holds the lists of the split val, not test"):
        load_dataset("metadata", tmp_path / "val", "test")
    with pytest.raises(InputError, match=r"test/image_ids\.txt is missing"):
        load_dataset("metadata", tmp_path, "test")
