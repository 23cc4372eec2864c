"""Masks of CUB and ImageNet-S that are broken, no files, or elsewhere: one sentence each."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.datasets import load_dataset
from wsol.errors import InputError

pytestmark = pytest.mark.slow

CUB = {"classes": "1 Bird\n", "images": "1 a/b.jpg\n", "image_class_labels": "1 1\n", "train_test_split": "1 0\n",
       "bounding_boxes": "1 1 2 3 4\n"}  # fmt: skip


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(params=["cub", "imagenet-s"])
def masked(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path, bytes]:
    """Name and root of a data set, its only mask, and what is in it."""
    root = tmp_path / "root"
    if request.param == "cub":
        mask, good = root / "segmentations" / "a" / "b.png", png(np.full((9, 9), 255, np.uint8))
        for name, text in CUB.items():
            root.mkdir(exist_ok=True)
            (root / f"{name}.txt").write_text(text)
    else:
        for i in range(50):
            (root / "validation" / f"n{i:08d}").mkdir(parents=True)
        (root / "validation" / "n00000000" / "b.JPEG").write_bytes(b"")
        mask = root / "validation-segmentation" / "n00000000" / "b.png"
        good = png(np.full((9, 9, 3), (1, 0, 0), np.uint8))
    mask.parent.mkdir(parents=True)
    mask.write_bytes(good)
    return request.param, root, mask, good


def read(name: str, root: Path, **arguments: str) -> None:
    masks = {"masks": str(root / "segmentations")} if name == "cub" else {}
    for sample in load_dataset(name, root, dataset_args=masks | arguments):
        assert sample.mask().foreground.all()


def one_sentence(sentence: str, name: str, root: Path, **arguments: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        read(name, root, **arguments)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"b\.png is not an image; restore the mask"),
        (b"\x89PNG\r\n\x1a\n", r"b\.png .*restore the mask"),
        (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;", "is too large an image .*restore the"),
        (png(np.zeros((9, 9, 3), np.uint8)), "has no pixel above mask_cut=0.5|no mask of .* has a pixel of its folder"),
        (png(np.full((9, 9), 100, np.uint16)), "has no pixel above|pixels of mode I.*, not RGB"),
    ],
    ids=["empty", "a header", "enormous", "black", "sixteen bit"],
)
def test_broken_masks_are_one_sentence(masked, content: bytes, sentence: str) -> None:
    name, root, mask, _ = masked
    read(name, root)
    mask.write_bytes(content)
    one_sentence(sentence, name, root)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "nothing"])
def test_masks_that_are_no_files(masked, kind: str) -> None:
    name, root, mask, _ = masked
    mask.unlink()
    if kind == "folder":
        mask.mkdir()
    elif kind == "pipe":
        os.mkfifo(mask)
    elif kind == "loop":
        mask.symlink_to(mask)
    one_sentence(r"b\.png (is missing|cannot be decoded)", name, root)


def test_masks_behind_a_link(masked, tmp_path: Path) -> None:
    name, root, mask, good = masked
    (tmp_path / "b.png").write_bytes(good)
    mask.unlink()
    mask.symlink_to(tmp_path / "b.png")
    one_sentence("is a link, or below one, to .*, outside the data root; .* --dataset-arg links=follow", name, root)
    read(name, root, links="follow")


def test_a_folder_of_masks_that_is_a_link(tmp_path: Path, masked) -> None:
    """The user named it, so it may be one."""
    name, root, _, _ = masked
    if name == "cub":
        (tmp_path / "linked").symlink_to(root / "segmentations")
        read(name, root, masks=str(tmp_path / "linked"))


def test_an_image_that_climbs_has_no_mask_elsewhere(masked) -> None:
    name, root, _, _ = masked
    if name == "cub":
        (root / "images.txt").write_text("1 ../b.jpg\n")
        one_sentence(r"images\.txt: '\.\./b\.jpg' is not a path below", name, root)
