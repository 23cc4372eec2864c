"""A comparison says in what two signatures differ, and calls no ingredient chance."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.errors import InputError
from wsol.models import Model, Preprocessing
from wsol.runs.read import read_run

Evaluated = Any


@pytest.fixture
def evaluate(tiny_model: Model, csv_data: Path, tmp_path: Path) -> Evaluated:
    def run(name: str, **changes: Any) -> Path:
        arguments = {"model": tiny_model, "dataset": "csv", "data_root": csv_data, "limit": 3, "device": "cpu"}
        wsol.evaluate(**{**arguments, **changes}, out=tmp_path / name)
        return tmp_path / name

    return run


@pytest.mark.slow
def test_another_normalization_is_named(evaluate: Evaluated, tiny_model: Model) -> None:
    other = replace(tiny_model, preprocessing=Preprocessing((0.9, 0.1, 0.1), (0.1, 0.1, 0.9)))
    comparison = wsol.compare([evaluate("a"), evaluate("b", model=other)])
    (note,) = (note for note in comparison.notes if note.startswith("a and b have the same weights"))
    assert note.startswith("a and b have the same weights, but differ in what else decides the scores: ")
    assert "tiny:00000000, not tiny:00000000+norm:" in note
    assert not any("chance" in note or "same signature" in note for note in comparison.notes)


def test_other_images_are_not_compared(evaluate: Evaluated, csv_data: Path, draw: Any) -> None:
    first = evaluate("a")
    draw(csv_data / "noise.png", (81, 64)).replace(csv_data / "01.png")  # the same size, but other pixels
    with pytest.raises(InputError, match=r"b and a are not comparable \(dataset: csv-test#3:\w+\+images:\w+, not csv"):
        wsol.compare([first, evaluate("b")])


def test_runs_whose_images_were_read_as_a_whole_or_in_part(evaluate: Evaluated) -> None:
    sampled, exact, again = evaluate("a"), evaluate("b", exact_images=True), evaluate("c", exact_images=True)
    signatures = [read_run(run).signature for run in (sampled, exact)]
    assert wsol.compare([sampled, exact]).signature == signatures[0] != signatures[1]
    assert wsol.compare([exact, again]).signature == signatures[1]


def test_maps_that_were_scored_without_the_image_files(csv_data: Path, tmp_path: Path) -> None:
    samples = [replace(sample, size=(90, 64)) for sample in load_dataset("csv", csv_data).limit(3)]
    with_files = Dataset("lists", "test", tuple(samples), tuple("0123456"))
    lists = replace(with_files, samples=tuple(replace(sample, path=None) for sample in samples))
    (tmp_path / "maps").mkdir()
    for sample in samples:
        np.save(tmp_path / "maps" / sample.image_id.replace(".png", ".npy"), np.eye(224, dtype=np.float32))
    scored = {}
    for name, images in (("lists", lists), ("files", with_files)):
        scored[name] = tmp_path / name
        wsol.score(maps=tmp_path / "maps", dataset=images, out=scored[name])
    comparison = wsol.compare([*scored.values()])
    assert comparison.notes[0].startswith("lists: whether the images are those of the other runs is not known")
    assert "+images" not in comparison.signature
    groups = wsol.leaderboard(*scored.values()).table["group"]
    assert groups.nunique() == 1
    assert "+images:" in groups[0]
