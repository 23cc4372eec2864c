"""Running commands on hostile files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes

CLASSES = ("cat", "dog", "cow")
IDS = ("a.jpg", "b.jpg", "c.jpg")
SIDE = 32
PROTOCOL = f"wsolevaluation:step=0.05,size={SIDE}"


def images() -> Dataset:
    """Three images of 32 x 32 without files."""
    box = as_boxes([[2, 3, 20, 30]])
    samples = (Sample(name, label, box, "inclusive", size=(SIDE, SIDE)) for label, name in enumerate(IDS))
    return Dataset("made", "test", tuple(samples), CLASSES)


def lists(folder: Path) -> Path:
    """Writes the same three images in the lists of Choe et al."""
    folder = folder / "lists" / "test"
    folder.mkdir(parents=True)
    rows = {
        "image_ids": IDS,
        "class_labels": [f"{name},{label}" for label, name in enumerate(IDS)],
        "image_sizes": [f"{name},{SIDE},{SIDE}" for name in IDS],
        "localization": [f"{name},2,3,20,30" for name in IDS],
    }
    for name, lines in rows.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def tree(folder: Path) -> list[tuple[str, int, int, int]]:
    """Returns path, mode, size and time of every file and folder below."""
    paths = [os.path.join(base, name) for base, dirs, files in os.walk(folder) for name in (*dirs, *files)]  # noqa: PTH118
    states = [(path, os.lstat(path)) for path in paths]
    return sorted((path, s.st_mode, s.st_size, s.st_mtime_ns) for path, s in states)


def refusal(
    main: Callable[[Sequence[str]], int], argv: Sequence[object], folder: Path, capfd: pytest.CaptureFixture[str]
) -> str:
    """Returns the sentence with which a command ends with exit code 2; checks that it changed nothing in a folder."""
    before = tree(folder)
    capfd.readouterr()
    assert main([*map(str, argv)]) == 2
    output: Any = capfd.readouterr().err
    assert "Traceback" not in output
    lines = [line for line in output.replace("\r", "\n").split("\n") if line.startswith("wsol: ")]
    assert len(lines) == 1
    assert output.endswith(lines[0] + "\n")
    assert tree(folder) == before
    return lines[0]
