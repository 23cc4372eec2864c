import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.datasets import load_dataset, with_content
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
        ({"class_labels": "b.jpg,4\n"}, "class_labels.txt lacks 1 images of image_ids.txt, such as a/1,2.jpg"),
        ({"image_sizes": "b.jpg,4,4\n"}, "image_sizes.txt lacks 1 images"),
        ({"class_labels": "b.jpg,four\n"}, "b.jpg: 'four' is not a number"),
        ({"image_ids": "b.jpg\nb.jpg\na/1,2.jpg\n"}, "b.jpg is listed twice"),
    ],
)
def test_broken_lists_are_named(tmp_path: Path, changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_dataset("metadata", write(tmp_path, **changes), "val")


def test_the_lists_of_another_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "val")
    with pytest.raises(InputError, match="has the lists of the split val, not test"):
        load_dataset("metadata", tmp_path / "val", "test")
    with pytest.raises(InputError, match=r"test/image_ids\.txt is missing"):
        load_dataset("metadata", tmp_path, "test")


def write_mask(path: Path, size: tuple[int, int], box: tuple[int, int, int, int], mode: str = "L") -> None:
    mask = np.zeros(size[::-1], np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).convert(mode).save(path)


MASKS = {
    "image_ids": "test/a/1.jpg\ntest/a/2.jpg\n",
    "class_labels": "test/a/1.jpg,0\ntest/a/2.jpg,1\n",
    "localization": "test/a/1.jpg,test/a/1_m0.png,test/a/1_ignore.png\n"
    "test/a/1.jpg,test/a/1_m1.png,\ntest/a/2.jpg,test/a/2_m0.png,\n",
}


def write_mask_lists(folder: Path) -> Path:
    """Writes lists like those of OpenImages30k: masks of every object, an ignore mask on one line, no sizes."""
    write(folder / "lists" / "test", **MASKS)
    (folder / "lists" / "test" / "image_sizes.txt").unlink()
    write_mask(folder / "masks/test/a/1_m0.png", (40, 20), (2, 3, 10, 12), "1")
    write_mask(folder / "masks/test/a/1_m1.png", (40, 20), (8, 3, 30, 5))
    write_mask(folder / "masks/test/a/1_ignore.png", (40, 20), (0, 0, 40, 4))
    write_mask(folder / "masks/test/a/2_m0.png", (30, 30), (5, 6, 7, 8), "RGB")
    return folder / "lists"


def test_masks_of_openimages30k(tmp_path: Path) -> None:
    data = load_dataset("metadata", write_mask_lists(tmp_path), "test", dataset_args={"masks": str(tmp_path / "masks")})
    first, second = data
    assert first.boxes.tolist() == [[2, 3, 10, 12], [8, 3, 30, 5]]
    assert (first.size, second.size) == ((40, 20), (30, 30))
    assert (first.corners, first.path) == ("edges", None)
    mask = first.mask()
    assert mask.foreground.sum() == 8 * 9 + 22 * 2 - 2 * 2  # the two overlap
    assert mask.ignore.sum() == 4 * 40 - 28  # not where the object is: row 3, columns 2 to 29
    assert not (mask.foreground & mask.ignore).any()
    assert not second.mask().ignore.any()
    assert re.search(r"\+masks:[0-9a-f]{8}$", with_content(data).signature)


def test_masks_of_another_size_than_the_image_cover_it(tmp_path: Path) -> None:
    lists = write_mask_lists(tmp_path)
    (lists / "test" / "image_sizes.txt").write_text("test/a/1.jpg,80,60\ntest/a/2.jpg,30,30\n")
    data = load_dataset("metadata", lists, "test", dataset_args={"masks": str(tmp_path / "masks")})
    assert data.samples[0].size == (80, 60)
    assert data.samples[0].boxes.tolist() == [[4, 9, 20, 36], [16, 9, 60, 15]]


def test_training_lists_need_no_boxes_and_sizes(tmp_path: Path) -> None:
    write(tmp_path / "train")
    for name in ("localization.txt", "image_sizes.txt"):
        (tmp_path / "train" / name).unlink()
    assert len(load_dataset("metadata", tmp_path, "train")) == 2
    for name in ("localization.txt", "image_sizes.txt"):  # as published for OpenImages30k and ILSVRC
        (tmp_path / "train" / name).write_text("")
    assert len(load_dataset("metadata", tmp_path, "train")) == 2
    (tmp_path / "train" / "image_sizes.txt").write_text("b.jpg,9,8\n")
    with pytest.raises(InputError, match=r"image_sizes\.txt lacks 1 images"):
        load_dataset("metadata", tmp_path, "train")


def test_missing_and_broken_masks_are_named(tmp_path: Path) -> None:
    lists = write_mask_lists(tmp_path)
    arguments = {"masks": str(tmp_path / "masks")}
    with pytest.raises(InputError, match="names masks; give their base folder as --dataset-arg masks=DIR"):
        load_dataset("metadata", lists, "test")
    write_mask(tmp_path / "masks/test/a/1_m1.png", (41, 20), (8, 3, 30, 5))
    with pytest.raises(InputError, match="has another size than"):
        load_dataset("metadata", lists, "test", dataset_args=arguments).samples[0].mask()
    write_mask(tmp_path / "masks/test/a/2_m0.png", (30, 30), (0, 0, 0, 0))
    with pytest.raises(InputError, match=r"2_m0\.png is empty"):
        load_dataset("metadata", lists, "test", dataset_args=arguments)
    (tmp_path / "masks/test/a/2_m0.png").write_bytes(b"none")
    with pytest.raises(InputError, match=r"2_m0\.png is not an image; restore the mask"):
        load_dataset("metadata", lists, "test", dataset_args=arguments)
    (tmp_path / "masks/test/a/2_m0.png").unlink()
    with pytest.raises(InputError, match=r"2_m0\.png is missing"):
        load_dataset("metadata", lists, "test", dataset_args=arguments)


def test_numbers_are_not_taken_for_files(tmp_path: Path) -> None:
    lists = write(tmp_path / "val", localization="b.jpg,0.,0.0,8e0,7.\na/1,2.jpg,1,2,3,4\n")
    data = load_dataset("metadata", lists, "val")
    assert data.samples[1].boxes.tolist() == [[0, 0, 8, 7]]
    write(tmp_path / "val", image_sizes="a/1,2.jpg,50,40\nb.jpg,0,0\n")
    with pytest.raises(InputError, match=r"b\.jpg has the size 0 x 0"):
        load_dataset("metadata", lists, "val")


@pytest.mark.parametrize("other", ["train", "test"])
def test_lists_of_choe_have_the_classes_of_all_their_splits(tmp_path: Path, other: str) -> None:
    """Labels are numbers, so the highest of one split alone would make two splits differ in their number of classes."""
    for split, label in (("val", 2), (other, 9)):
        folder = tmp_path / split
        folder.mkdir()
        (folder / "image_ids.txt").write_text("a.jpg\n")
        (folder / "class_labels.txt").write_text(f"a.jpg,{label}\n")
        (folder / "image_sizes.txt").write_text("a.jpg,9,9\n")
        (folder / "localization.txt").write_text("a.jpg,0,0,5,5\n")
    names = tuple(map(str, range(10)))
    assert (
        load_dataset("metadata", tmp_path, "val").classes == load_dataset("metadata", tmp_path, other).classes == names
    )
    assert load_dataset("metadata", tmp_path / "val", "val").classes == names[:3]  # nothing outside the folder is read
    (tmp_path / other / "class_labels.txt").write_text("a.jpg,nine\n")
    with pytest.raises(InputError, match=rf"{other}.class_labels\.txt, the last column: 'nine' is not a number"):
        load_dataset("metadata", tmp_path, "val")
