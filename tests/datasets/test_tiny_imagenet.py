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


def test_broken_lines_are_named(tiny: Path) -> None:
    path = tiny / "val" / "val_annotations.txt"
    path.write_text("val_0.JPEG\tn02\t0\t32\n")
    with pytest.raises(InputError, match=r"val_annotations\.txt, line 1: .* should be file, synset, x0, y0, x1, y1"):
        load_dataset("tiny-imagenet", tiny)
    path.write_text("val_0.JPEG\tn77\t0\t32\t44\t62\n")
    with pytest.raises(InputError, match=r"val_0\.JPEG has the synset 'n77'"):
        load_dataset("tiny-imagenet", tiny)
