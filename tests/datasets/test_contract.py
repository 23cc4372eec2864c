"""Properties of every data set."""

import pydoc
import re
from pathlib import Path

import numpy as np
import pytest

from wsol.datasets import DATASETS, Dataset, Sample, count_clipped, load_dataset
from wsol.datasets._download import ARCHIVES
from wsol.datasets.base import as_boxes, hold_out_tenth
from wsol.errors import InputError


def sample(corners: str, *boxes: list[float], name: str = "a") -> Sample:
    return Sample(name, 0, as_boxes(boxes), corners)


def test_the_top_left_pixel_alone_in_every_convention() -> None:
    assert sample("edges", [0, 0, 1, 1]).edges.tolist() == [[0, 0, 1, 1]]
    assert sample("inclusive", [0, 0, 0, 0]).edges.tolist() == [[0, 0, 1, 1]]
    assert sample("one-based", [1, 1, 1, 1]).edges.tolist() == [[0, 0, 1, 1]]


def test_a_pixel_outside_is_counted_and_more_is_refused() -> None:
    assert count_clipped(sample("edges", [0, 0, 10, 8], [-1, 0, 5, 5], [0, 0, 10.5, 9]), (10, 8)) == 2
    assert count_clipped(sample("inclusive", [0, 0, 9, 7], [0, 0, 10, 7]), (10, 8)) == 1  # x1 reaches the width itself
    assert count_clipped(sample("one-based", [1, 1, 10, 8], [0, 1, 10, 8]), (10, 8)) == 1
    with pytest.raises(InputError, match=r"a: the box \(0.0, 0.0, 10.0, 9.5\) is 1.5 pixels outside its 10 x 8"):
        count_clipped(sample("edges", [0, 0, 10, 9.5]), (10, 8))


def dataset(*samples: Sample) -> Dataset:
    return Dataset("x", "test", samples, ("only",))


def test_fingerprint_sees_ids_labels_boxes_and_convention() -> None:
    base = dataset(sample("edges", [0, 0, 1, 1]))
    others = [
        dataset(sample("edges", [0, 0, 1, 2])),
        dataset(sample("inclusive", [0, 0, 1, 1])),
        dataset(sample("edges", [0, 0, 1, 1], name="b")),
        dataset(Sample("a", 1, as_boxes([[0, 0, 1, 1]]), "edges")),
        dataset(Sample("a", 0, as_boxes([[0, 0, 1, 1]]), "edges", size=(5, 5))),
    ]
    assert len({d.fingerprint for d in (base, *others)}) == 6
    assert base.fingerprint == dataset(sample("edges", [0, 0, 1, 1])).fingerprint
    assert base.signature == f"x-test#1:{base.fingerprint[:8]}"


def test_limit_spreads_over_the_whole_split() -> None:
    many = dataset(*(sample("edges", name=str(i)) for i in range(10)))
    assert [s.image_id for s in many.limit(4)] == ["0", "2", "5", "7"]
    assert len(many.limit(99)) == 10
    with pytest.raises(InputError):
        many.limit(0)


def test_a_tenth_of_train_is_taken_out_of_train() -> None:
    val, train = hold_out_tenth(range(205), "val"), hold_out_tenth(range(205), "train")
    assert len(val) == 20
    assert sorted(val + train) == [*range(205)]
    assert [*val] == sorted(val)
    assert val == hold_out_tenth(range(205), "val") != hold_out_tenth(range(205), "val", seed=1)


def test_every_data_set_has_a_card() -> None:
    cards = {path.stem for path in (Path(__file__).parents[2] / "datasets").glob("*.md")}
    assert {*DATASETS.names()} == cards
    assert not (Path(__file__).parents[2] / "datasets" / "__init__.py").exists()


def test_boxes_are_float64_also_when_there_is_none() -> None:
    assert as_boxes([]).shape == (0, 4)
    assert as_boxes([[1, 2, 3, 4]]).dtype == np.float64


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if name != "synthetic"])
def test_a_missing_folder_names_the_documentation_of_the_layout(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*gone; give --data-root the folder of the") as raised:
        load_dataset(name, tmp_path / "gone")
    sentence = str(raised.value)
    module = re.search(r"layout is described by `python -m pydoc ([\w.]+)`", sentence)[1]
    text = pydoc.plain(pydoc.render_doc(module))
    assert DATASETS.get(name).__doc__.splitlines()[0] in text
    assert re.search(r"  root: The folder|  root: Folder", text)
    assert ("--download" in sentence) == (name in ARCHIVES)
