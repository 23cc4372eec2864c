"""Pseudo boxes in place of those of a validation split: lists, COCO's JSON, and what cannot be used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsol.datasets import Dataset, Mask, Sample, has_pseudo_boxes, unused_boxes, with_pseudo_boxes
from wsol.datasets.base import as_boxes
from wsol.errors import InputError

PSEUDO = {"a.jpg": (0, 1, [[1, 2, 30, 40]]), "b/c.jpg": (1, 1, [[5, 6, 7, 8], [0, 0, 59, 49]])}


def empty_mask() -> Mask:
    return Mask(np.ones((50, 60), bool), np.zeros((50, 60), bool))


@pytest.fixture
def val() -> Dataset:
    """Two images with a box each that a human drew, as half-open edges in frames of their own."""
    samples = tuple(
        Sample(name, label, as_boxes([[10, 10, 20, 20]]), "edges", Path(name), None, empty_mask)
        for label, name in enumerate(PSEUDO)
    )
    return Dataset("made", "val", samples, ("cat", "dog"), "tenth-of-train,seed=0")


def write_lists(folder: Path, entries: dict[str, tuple[int, int, list[list[int]]]] = PSEUDO) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [f"{name},{','.join(map(str, box))}" for name, (_, _, rows) in entries.items() for box in rows]
    lists = {
        "image_ids": [*entries],
        "class_labels": [f"{name},{label}" for name, (label, _, _) in entries.items()],
        "image_sizes": [f"{name},60,50" for name in entries],
        "localization": boxes,
    }
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def write_json(path: Path) -> Path:
    """Write the same boxes as one class-agnostic category, widths and heights for half-open edges."""
    images = [{"id": i, "file_name": name, "width": 60, "height": 50} for i, name in enumerate(PSEUDO)]
    annotations = [
        {"id": 10 * i + k, "image_id": i, "category_id": 1, "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1]}
        for i, (_, _, rows) in enumerate(PSEUDO.values())
        for k, (x0, y0, x1, y1) in enumerate(rows)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}))
    return path


def test_lists_replace_boxes_corners_and_frames(val: Dataset, tmp_path: Path) -> None:
    replaced = with_pseudo_boxes(val, write_lists(tmp_path / "lists"))
    assert [sample.boxes.tolist() for sample in replaced] == [rows for _, _, rows in PSEUDO.values()]
    for sample, own in zip(replaced, val, strict=True):
        assert (sample.corners, sample.size, sample.mask) == ("inclusive", (60, 50), None)
        assert (sample.image_id, sample.label, sample.path) == (own.image_id, own.label, own.path)
    assert (replaced.origin, has_pseudo_boxes(replaced), has_pseudo_boxes(val)) == (f"{val.origin},pseudo", True, False)
    assert has_pseudo_boxes(with_pseudo_boxes(replace(val, origin=""), tmp_path / "lists"))
    assert replaced.fingerprint != val.fingerprint
    assert unused_boxes(replaced) == []


def test_a_folder_with_the_split_and_coco_json_are_the_same(val: Dataset, tmp_path: Path) -> None:
    write_lists(tmp_path / "all" / "val")
    lists, coco = with_pseudo_boxes(val, tmp_path / "all"), with_pseudo_boxes(val, write_json(tmp_path / "p.json"))
    for one, other in zip(lists, coco, strict=True):
        np.testing.assert_array_equal(one.edges, other.edges)
        assert one.size == other.size


def test_missing_images_are_named_and_counted(val: Dataset, tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "lists", {"a.jpg": PSEUDO["a.jpg"], "b/c.jpg": (1, 1, [])})  # listed without a box
    with pytest.raises(InputError, match=r"lists has no box for 1 of 2 images of made val: b/c\.jpg; add them"):
        with_pseudo_boxes(val, lists)


def test_boxes_without_an_image_are_noted(val: Dataset, tmp_path: Path) -> None:
    replaced = with_pseudo_boxes(val, write_lists(tmp_path / "lists", {**PSEUDO, "e.jpg": (0, 1, [[1, 1, 2, 2]])}))
    assert unused_boxes(replaced) == ["pseudo boxes without an image in made val are not used (1): e.jpg"]
    assert len(replaced) == 2


def test_what_cannot_be_used_is_one_sentence(val: Dataset, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no pseudo boxes; give a folder with localization\.txt and the"):
        with_pseudo_boxes(val, tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere holds no pseudo boxes"):
        with_pseudo_boxes(val, tmp_path / "nowhere")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"a\.json is not COCO's JSON"):
        with_pseudo_boxes(val, tmp_path / "a.json")
    lists = write_lists(tmp_path / "lists")
    with pytest.raises(InputError, match="pseudo boxes replace those of the split val, not of test"):
        with_pseudo_boxes(replace(val, split="test"), lists)
    write_lists(tmp_path / "other", {**PSEUDO, "a.jpg": (1, 1, [[1, 2, 3, 4]])})
    with pytest.raises(InputError, match=r"a\.jpg has the label 1, and 0 in made val; give the boxes of this split"):
        with_pseudo_boxes(val, tmp_path / "other")
    write_lists(tmp_path / "inverted", {**PSEUDO, "a.jpg": (0, 1, [[9, 9, 2, 2]])})
    with pytest.raises(InputError, match=r"made val: a\.jpg has an empty, inverted or non-finite box"):
        with_pseudo_boxes(val, tmp_path / "inverted")


def test_images_without_an_object_keep_none(val: Dataset, tmp_path: Path) -> None:
    normal = Sample("n.jpg", 0, as_boxes([]), "edges", Path("n.jpg"), None, empty_mask, empty=True)
    mixed = replace(val, samples=(*val.samples, normal))
    lists = write_lists(tmp_path / "lists")
    replaced = with_pseudo_boxes(mixed, lists)
    assert [(len(sample.boxes), sample.empty, sample.mask) for sample in replaced] == [
        (1, False, None),
        (2, False, None),
        (0, True, None),
    ]
    assert unused_boxes(replaced) == []
    write_lists(lists, {**PSEUDO, "n.jpg": (0, 1, [[1, 2, 3, 4]])})
    found = with_pseudo_boxes(mixed, lists)
    assert found.fingerprint == replaced.fingerprint
    assert unused_boxes(found) == ["pseudo boxes of images that show no object in made val are not used (1): n.jpg"]


def test_boxes_of_an_image_with_the_margins_that_are_cut_off(val: Dataset, tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "lists")  # in frames of 60 x 50
    for size, margins in (((60, 50), (0, 0, 0, 20)), ((60, 30), (0, 0, 0, 0))):
        samples = tuple(replace(sample, size=size, margins=margins) for sample in val)
        assert len(with_pseudo_boxes(replace(val, samples=samples), lists)) == 2
    samples = tuple(replace(sample, size=(60, 30), margins=(0, 0, 0, 20)) for sample in val)
    with pytest.raises(InputError, match="stored file, 60 x 50, whose margins are cut off; give boxes of the"):
        with_pseudo_boxes(replace(val, samples=samples), lists)
