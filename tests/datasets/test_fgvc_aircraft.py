"""FGVC-Aircraft in its published layout: the banner is no part of the image, and corners count from 1."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import FGVCAircraft

import wsol
from wsol.datasets import count_clipped, load_dataset, read_image, with_content
from wsol.errors import InputError

# 60 x 40 pixels without the banner. 1: the whole image; 2: up to the last row; 3: ten rows into the banner.
BOXES = {"0000001": (1, 1, 60, 40), "0000002": (11, 11, 30, 40), "0000003": (11, 31, 20, 50)}
VARIANTS = {"0000001": "F/A-18", "0000002": "707-320", "0000003": "Boeing 717"}


def save(path: Path, size: tuple[int, int], banner: bool = True) -> None:
    pixels = np.full((size[1] + 20 * banner, size[0], 3), 40, np.uint8)
    if banner:
        pixels[-20:] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    for name in BOXES:
        save(data / "images" / f"{name}.png", (60, 40))  # exact pixels, of another suffix
    (data / "images_box.txt").write_text("".join(f"{name} {' '.join(map(str, b))}\n" for name, b in BOXES.items()))
    (data / "variants.txt").write_text("707-320\nBoeing 717\nF/A-18\n")
    (data / "families.txt").write_text("Boeing 7\nF\n")
    for split in ("train", "val", "test"):
        rows = [f"{name} {variant}\n" for name, variant in VARIANTS.items()]
        (data / f"images_variant_{split}.txt").write_text("".join(rows))
    (data / "images_family_test.txt").write_text("0000002 Boeing 7\n0000001 F\n")
    return tmp_path


def test_by_hand(root: Path) -> None:
    data = load_dataset("fgvc-aircraft", root)
    assert data.classes == ("707-320", "Boeing 717", "F/A-18")
    assert [(sample.image_id, sample.label) for sample in data] == [("0000001", 2), ("0000002", 0), ("0000003", 1)]
    assert [sample.edges.tolist() for sample in data] == [[[0, 0, 60, 40]], [[10, 10, 30, 40]], [[10, 30, 20, 40]]]
    assert [count_clipped(sample, (60, 40)) for sample in data] == [0, 0, 0]
    assert data.notes == ("1 boxes reach into the banner, the lowest 20 rows, and end above it: 0000003",)
    assert load_dataset("fgvc-aircraft", root / "fgvc-aircraft-2013b").signature == data.signature


def test_the_banner_is_cut_off(root: Path) -> None:
    sample = load_dataset("fgvc-aircraft", root).samples[0]
    image, frame = read_image(sample)
    assert (image.size, frame) == ((60, 40), (60, 40))
    assert np.asarray(image).max() == 40  # the banner is white
    found = wsol.score(dataset=load_dataset("fgvc-aircraft", root), baseline="full-image", protocol="exact")
    assert found.predictions["iou"].tolist() == pytest.approx([1, 20 * 30 / 2400, 100 / 2400])


def test_files_and_labels_are_those_of_torchvision(root: Path) -> None:
    for level in ("variant", "family"):
        expected = FGVCAircraft(root, "test", level)
        data = load_dataset("fgvc-aircraft", root, dataset_args={"level": level})
        assert [sample.path.stem for sample in data] == [Path(file).stem for file in expected._image_files]
        assert [sample.label for sample in data] == expected._labels
        assert [*data.classes] == expected.classes


def test_margins_are_part_of_the_fingerprint_of_the_images(root: Path) -> None:
    data = load_dataset("fgvc-aircraft", root)
    whole = replace(data, samples=tuple(replace(sample, margins=(0, 0, 0, 0)) for sample in data))
    assert with_content(data).signature != with_content(whole).signature


def test_a_broken_image_is_left_to_its_reader(root: Path) -> None:
    images = root / "fgvc-aircraft-2013b" / "data" / "images"
    (images / "0000001.png").unlink()
    save(images / "0000002.png", (60, 15), banner=False)
    first, second, _ = load_dataset("fgvc-aircraft", root)
    with pytest.raises(InputError, match=r"0000001\.jpg is missing"):
        read_image(first)
    with pytest.raises(InputError, match=r"0000002\.png cannot be decoded \(its 60 x 15 pixels are all in the margins"):
        read_image(second)


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("images_box.txt", "0000001 1 1 60 40\n", "images_box.txt has no line for image 0000002; restore the file"),
        ("images_box.txt", "0000001 1 1 60\n", "line 1: .* should be an image number, xmin, ymin, xmax, ymax"),
        ("images_box.txt", "0000001 1 1 6 wide\n", "image 0000001: 'wide' is not a number"),
        ("images_box.txt", "0000001 1 1 6 6\n0000001 1 1 6 7\n", "has two different entries for 0000001"),
        (
            "images_variant_test.txt",
            "0000001 Concorde\n",
            "0000001 has the variant 'Concorde', which variants",
        ),
        ("images_variant_test.txt", "0000001\n", "0000001 has the variant ''"),
        ("images_variant_test.txt", "\n", "the split 'test' has no image"),
        ("images_variant_test.txt", "../a F/A-18\n", r"has no line for image \.\./a"),
        ("images_box.txt", "".join(f"000000{i} 1 45 60 50\n" for i in (1, 2, 3)), "5 pixels outside|10 pixels outside"),
    ],
)
def test_damaged_lists_are_one_sentence(root: Path, file: str, text: str, sentence: str) -> None:
    (root / "fgvc-aircraft-2013b" / "data" / file).write_text(text)
    with pytest.raises(InputError, match=sentence):
        wsol.score(dataset="fgvc-aircraft", data_root=root, baseline="full-image")


def test_unknown_level(root: Path) -> None:
    with pytest.raises(InputError, match="unknown level='wing'; known: variant, family, manufacturer"):
        load_dataset("fgvc-aircraft", root, dataset_args={"level": "wing"})
