from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.datasets import load_dataset
from wsol.errors import InputError

PET, BACKGROUND, BORDER = 1, 2, 3


@pytest.fixture
def pets(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    notes = tmp_path / "annotations"
    (notes / "trimaps").mkdir(parents=True)
    trimap = np.full((40, 60), BACKGROUND, np.uint8)
    trimap[9:21, 4:31] = BORDER
    trimap[10:20, 5:30] = PET
    parts: dict[str, list[str]] = {"trainval": [], "test": []}
    for i in range(12):
        name = f"{('Bengal', 'great_dane')[i % 2]}_{i}"
        draw(tmp_path / "images" / f"{name}.jpg", (60, 40))
        Image.fromarray(trimap).save(notes / "trimaps" / f"{name}.png")
        parts["test" if i > 9 else "trainval"].append(f"{name} {i % 2 + 1} {i % 2 + 1} 1")
    for part, rows in parts.items():
        (notes / f"{part}.txt").write_text("\n".join(["#Image CLASS-ID SPECIES BREED ID", *rows]) + "\n")
    return tmp_path


def test_by_hand(pets: Path) -> None:
    data = load_dataset("oxford-pets", pets)
    first, second = data
    assert data.classes == ("Bengal", "great_dane")
    assert (first.label, second.label) == (0, 1)
    assert first.boxes.tolist() == first.edges.tolist() == [[5, 10, 30, 20]]  # the pet's extent, without the border
    assert first.size == (60, 40)
    mask = first.mask()
    assert mask.foreground.sum() == 10 * 25
    assert mask.ignore.sum() == 12 * 27 - 10 * 25
    assert not (mask.foreground & mask.ignore).any()


def test_splits(pets: Path) -> None:
    assert [len(load_dataset("oxford-pets", pets, part)) for part in ("train", "val", "test")] == [9, 1, 2]
    assert all(s.mask is None and not len(s.boxes) for s in load_dataset("oxford-pets", pets, "train"))


def test_images_of_another_suffix(pets: Path) -> None:
    before = load_dataset("oxford-pets", pets)
    for path in (pets / "images").glob("*.jpg"):
        path.rename(path.with_suffix(".JPEG"))
    data = load_dataset("oxford-pets", pets)
    assert data.signature == before.signature
    assert all(sample.path.is_file() for sample in data)


def test_a_trimap_without_a_pet_or_missing_is_named(pets: Path) -> None:
    trimap = pets / "annotations" / "trimaps" / "Bengal_10.png"
    Image.fromarray(np.full((4, 4), BACKGROUND, np.uint8)).save(trimap)
    with pytest.raises(InputError, match=r"Bengal_10\.png marks no pet"):
        load_dataset("oxford-pets", pets)
    trimap.unlink()
    with pytest.raises(InputError, match=r"Bengal_10\.png is missing"):
        load_dataset("oxford-pets", pets)
