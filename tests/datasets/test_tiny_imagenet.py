from collections.abc import Callable
from pathlib import Path

import pytest

from wsol.datasets import load_dataset
from wsol.errors import InputError


@pytest.fixture
def tiny(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")  # not sorted, as in the original
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tbus\nn99\tnot here\n")
    for wnid in ("n01", "n02"):
        rows = [f"{wnid}_{i}.JPEG\t0\t3\t62\t63\n" for i in range(10)]
        for i in range(10):
            draw(tmp_path / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", (64, 64))
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(rows))
    draw(tmp_path / "val" / "images" / "val_0.JPEG", (64, 64))
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\n")
    return tmp_path


def test_by_hand(tiny: Path) -> None:
    data = load_dataset("tiny-imagenet", tiny)
    (sample,) = data
    assert sample.label == 1  # sorted synsets, not the order of wnids.txt
    assert data.classes == ("goldfish, Carassius auratus", "bus")
    assert sample.boxes.tolist() == [[0, 32, 44, 62]]
    assert sample.edges.tolist() == [[0, 32, 45, 63]]  # inclusive corners


def test_splits(tiny: Path) -> None:
    train, val = load_dataset("tiny-imagenet", tiny, "train"), load_dataset("tiny-imagenet", tiny, "val")
    assert (len(train), len(val)) == (18, 2)
    assert not {s.image_id for s in train} & {s.image_id for s in val}
    assert val.samples[0].edges.tolist() == [[0, 3, 63, 64]]


@pytest.mark.parametrize("place", ["val/n02/images", "val/n02", "val"])
@pytest.mark.parametrize("suffix", [".JPEG", ".jpg", ".png"])
def test_validation_images_sorted_into_folders(tiny: Path, place: str, suffix: str) -> None:
    before = load_dataset("tiny-imagenet", tiny)
    moved = tiny / place / f"val_0{suffix}"
    moved.parent.mkdir(parents=True, exist_ok=True)
    (tiny / "val" / "images" / "val_0.JPEG").rename(moved)
    data = load_dataset("tiny-imagenet", tiny)
    assert data.signature == before.signature
    assert data.samples[0].path == moved


def test_training_images_of_another_folder_and_suffix(tiny: Path) -> None:
    before = load_dataset("tiny-imagenet", tiny, "train")
    for path in (tiny / "train").glob("*/images/*.JPEG"):
        path.rename(path.parent.parent / f"{path.stem}.jpg")
    data = load_dataset("tiny-imagenet", tiny, "train")
    assert data.signature == before.signature
    assert all(sample.path.is_file() and sample.path.suffix == ".jpg" for sample in data)


def test_a_script_that_deleted_the_boxes_is_named(tiny: Path) -> None:
    (tiny / "val" / "n02").mkdir()
    (tiny / "val" / "val_annotations.txt").unlink()
    with pytest.raises(InputError, match=r"val_annotations.txt, which has the boxes, is missing, .*; restore it from"):
        load_dataset("tiny-imagenet", tiny)


def test_broken_lines_are_named(tiny: Path) -> None:
    path = tiny / "val" / "val_annotations.txt"
    path.write_text("val_0.JPEG\tn02\t0\t32\n")
    with pytest.raises(InputError, match=r"val_annotations\.txt, line 1: .* should be file, synset, x0, y0, x1, y1"):
        load_dataset("tiny-imagenet", tiny)
    path.write_text("val_0.JPEG\tn77\t0\t32\t44\t62\n")
    with pytest.raises(InputError, match=r"val_0\.JPEG has the synset 'n77'"):
        load_dataset("tiny-imagenet", tiny)
