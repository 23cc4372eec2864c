"""The classes of a network are those of every stage that it is trained or measured on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsol.errors import InputError
from wsol.training import Recipe, Stage, train


def write_csv(path: Path, labels: dict[str, list[str]], draw: Callable[..., Path]) -> None:
    rows = ["image_id,label,x0,y0,x1,y1,split"]
    for split, names in labels.items():
        for i, name in enumerate(names):
            draw(path.parent / f"{split}{i}.png", (32, 32))
            rows.append(f"{split}{i}.png,{name},0,0,9,9,{split}")
    path.write_text("\n".join(rows) + "\n")


def test_a_stage_with_other_classes_is_refused(tmp_path: Path, draw: Callable[..., Path]) -> None:
    write_csv(tmp_path / "first.csv", {"train": ["cat", "dog", "fox", "cat"], "val": ["dog"]}, draw)
    write_csv(tmp_path / "second.csv", {"train": ["cat", "fox", "fox", "cat"], "val": ["fox"]}, draw)
    stages = Stage(1, 32, 2, {"file": "first.csv"}), Stage(1, 32, 2, {"file": "second.csv"})
    with pytest.raises(InputError, match=r"csv: the classes of the split train differ .*class 1 is 'fox', not 'dog'"):
        train("shufflenet_v2_x0_5-gap", "csv", Recipe(stages), data_root=tmp_path, device="cpu", out=tmp_path / "out")


def test_a_misspelled_label_of_another_split_is_noted(
    tmp_path: Path, draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "boxes.csv", {"train": ["cat", "dog", "cat"], "val": ["dog"], "test": ["catt"]}, draw)
    recipe = Recipe((Stage(1, 32, 3),))
    train("shufflenet_v2_x0_5-gap", "csv", recipe, data_root=tmp_path, device="cpu", workers=1, out=tmp_path / "out")
    note = "note: classes without an image in train, which are never learned (1 of 3): catt; check the labels"
    assert note in capsys.readouterr().out
