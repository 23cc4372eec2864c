"""The commands of docs/leaderboard-tutorial.md run, in order, on twelve images."""

import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from wsol.models import find_architecture

PAGE = Path(__file__).parents[1] / "docs" / "leaderboard-tutorial.md"
SEEDS = (0, 1)  # of the page's three
SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4


def page_commands() -> list[tuple[str, list[str]]]:
    lines = re.findall(r"^    python -m wsol\.(\w+)((?:[^\n\\]|\\\n)*)", PAGE.read_text(encoding="utf-8"), re.M)
    return [(name, shlex.split(rest.replace("\\\n", " "))) for name, rest in lines]


@pytest.mark.slow
def test_its_commands_lead_to_a_table(
    tmp_path: Path, draw: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rows = ["image_id,label,x0,y0,x1,y1,split"]
    for i, split in enumerate(SPLITS):
        draw(tmp_path / "photos" / f"{i}.png", (40, 32))
        rows.append(f"{i}.png,{('cat', 'dog')[i % 2]},{',,,' if split == 'train' else '4,5,30,28'},{split}")
    (tmp_path / "photos" / "boxes.csv").write_text("\n".join(rows) + "\n")
    model = find_architecture("squeezenet1_1").build_for_training(1000)
    torch.save(model.state_dict(), tmp_path / "IMAGENET1K_V1.pth")  # random, in place of the download
    commands = page_commands()
    assert [name for name, _ in commands] == [
        *["score"] * 2,
        *["train"] * 2,
        *["eval"] * 2,
        "compare",
        *["leaderboard"] * 2,
    ]
    for name, arguments in commands:
        words = ["IMAGENET1K_V1.pth" if word == "IMAGENET1K_V1" else word for word in arguments]
        words = [re.sub(r",runs/\w+-2", "", word) for word in words]
        if "--epochs" in words:
            words[words.index("--epochs") + 1] = "1"
            words[words.index("--batch-size") + 1] = "2"  # for a single step, seeds would not differ
        repeated = [words]
        if name in ("train", "eval"):  # as the page says
            repeated = [[re.sub(r"(^|-)0\b", rf"\g<1>{seed}", word) for word in words] for seed in SEEDS]
        for each in repeated:
            assert importlib.import_module(f"wsol.{name}").main(each) == 0, capsys.readouterr().err
    table = pd.read_csv(tmp_path / "table" / "leaderboard.csv")
    assert sorted(table["run"]) == [
        *("center-box", "center-gaussian"),
        *(f"{name}-{seed}" for name in ("frozen", "whole") for seed in SEEDS),
    ]
    assert table["signature"].str.startswith("csv-test#4:").all()
    assert (tmp_path / "comparison" / "report.html").is_file()
    compared = pd.read_csv(tmp_path / "comparison" / "runs.csv")
    assert dict(zip(compared["run"], compared["seeds"], strict=True)) == {"frozen": 2, "whole": 2, "center-box": 1}
