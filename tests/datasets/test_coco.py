import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask as rle

import wsol
from wsol.datasets import load_dataset
from wsol.errors import InputError


def content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "width": 60, "height": 40},
            {"id": 3, "file_name": "a.jpg", "width": 60, "height": 40},
            {"id": 9, "file_name": "empty.jpg", "width": 60, "height": 40},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 18, "name": "dog"}],
        "annotations": [
            # a square of 10 x 10 as a polygon
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0,
             "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]},
            {"id": 2, "image_id": 3, "category_id": 18, "bbox": [30.5, 10, 8.25, 4], "area": 33, "iscrowd": 0},
            # a crowd of the same class: columns 10 to 19 as uncompressed RLE (column-major), half over the square
            {"id": 3, "image_id": 3, "category_id": 18, "bbox": [10, 0, 10, 40], "area": 400, "iscrowd": 1,
             "segmentation": {"size": [40, 60], "counts": [10 * 40, 10 * 40, 40 * 40]}},
            {"id": 4, "image_id": 3, "category_id": 90, "bbox": [0, 0, 4, 3], "area": 12, "iscrowd": 0},
            {"id": 5, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        ],
    }  # fmt: skip


def write(root: Path, data: Any) -> Path:
    (root / "notes.json").write_text(json.dumps(data))
    return root


def load(root: Path) -> Any:
    return load_dataset("coco", root, dataset_args={"annotations": "notes.json"})


def test_by_hand(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "a.jpg")
    data = load(write(tmp_path, content()))
    dog, brush, alone = data
    assert data.classes == ("dog", "toothbrush")  # by category id
    assert [s.image_id for s in data] == ["a.jpg#dog", "a.jpg#toothbrush", "b.jpg"]
    assert [s.label for s in data] == [0, 1, 1]
    assert dog.boxes.tolist() == [[5, 5, 15, 15], [30.5, 10, 38.75, 14]]  # x y w h; the crowd is no box
    assert dog.size == (60, 40)
    assert dog.path == tmp_path / "a.jpg"
    mask = dog.mask()
    assert mask.foreground.sum() == 100
    assert mask.foreground[5:15, 5:15].all()
    assert mask.ignore.sum() == 400 - 50  # foreground is never ignored
    assert mask.ignore[20:, 10:20].all()
    assert alone.edges.tolist() == [[1, 2, 4, 6]]
    assert (brush.mask, alone.mask) == (None, None)


def test_polygon_and_rle_agree(tmp_path: Path) -> None:
    data = content()
    square = data["annotations"][0]
    polygon = load(write(tmp_path, data)).samples[0].mask().foreground
    encoded = rle.merge(rle.frPyObjects(square["segmentation"], 40, 60))
    square["segmentation"] = {"size": [40, 60], "counts": encoded["counts"].decode()}
    assert (load(write(tmp_path, data)).samples[0].mask().foreground == polygon).all()


def test_the_usual_layout_of_2017(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content()))
    data = load_dataset("coco", tmp_path)
    assert data.samples[0].path == tmp_path / "val2017" / "a.jpg"
    with pytest.raises(InputError, match="there is no official val split"):
        load_dataset("coco", tmp_path, "val")


def test_other_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"notes\.json is missing"):
        load(tmp_path)
    (tmp_path / "notes.json").write_text("{")
    with pytest.raises(InputError, match=r"notes\.json is not COCO's JSON"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"notes\.json is not COCO's JSON"):
        load(write(tmp_path, [1, 2]))
    broken = content()
    broken["annotations"][0]["category_id"] = 5
    with pytest.raises(InputError, match="unknown category 5"):
        load(write(tmp_path, broken))


@pytest.mark.parametrize("key", ["file_name", "width", "height"])
def test_an_image_without_a_field_is_named(tmp_path: Path, key: str) -> None:
    broken = content()
    broken["images"][1][key] = None
    if key == "file_name":
        del broken["images"][1][key]
    with pytest.raises(InputError, match="image 3 lacks file_name, width or height"):
        load(write(tmp_path, broken))


@pytest.mark.parametrize("key", ["bbox", "image_id", "category_id"])
def test_an_annotation_without_a_field_is_named(tmp_path: Path, key: str) -> None:
    broken = content()
    del broken["annotations"][0][key]
    with pytest.raises(InputError, match=key):
        load(write(tmp_path, broken))


def annotation(id_: int, category: int, box: list[float], image: int = 3, **more: Any) -> dict[str, Any]:
    return {"id": id_, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0, **more}


def test_annotations_without_extent_are_left_out_and_named(tmp_path: Path) -> None:
    whole = load(write(tmp_path, content()))
    assert whole.notes == ()
    data = content()
    data["annotations"] += [
        annotation(2206849, 18, [9.98, 188.56, 15.52, 0.0]),
        annotation(11, 90, [3, 4, 0, 7], 7, segmentation=[[3, 4, 3, 11, 3, 4]]),
        annotation(12, 18, [1, 2, 3, 0], 9),  # the only one of its image
        annotation(13, 18, [1e9, 2, 1e-9, 5]),  # no double is between its sides
    ]
    loaded = load(write(tmp_path, data))
    assert [s.image_id for s in loaded] == [s.image_id for s in whole]  # without empty.jpg
    assert loaded.fingerprint == whole.fingerprint
    names = "2206849 (a.jpg), 11 (b.jpg), 12 (empty.jpg), 13 (a.jpg)"
    assert loaded.notes == (f"notes.json: annotations without width or height are left out (4): {names}",)
    data["annotations"] += [annotation(20 + i, 18, [0, 0, 0, 0]) for i in range(3)]
    assert load(write(tmp_path, data)).notes[0].endswith("13 (a.jpg), 20 (a.jpg) and 2 more")


def test_a_run_and_a_score_name_what_was_left_out(tmp_path: Path) -> None:
    data = content()
    data["annotations"].append(annotation(2206849, 18, [9.98, 188.56, 15.52, 0.0]))
    result = wsol.score(baseline="center-box", dataset=load(write(tmp_path, data)))
    assert any("without width or height are left out (1): 2206849 (a.jpg)" in note for note in result.metadata.notes)


def test_annotations_of_images_that_are_not_listed_are_named(tmp_path: Path) -> None:
    data = content()
    data["annotations"] += [annotation(30, 18, [0, 0, 5, 5], 77)]
    loaded = load(write(tmp_path, data))
    assert loaded.fingerprint == load(write(tmp_path, content())).fingerprint
    assert "annotations of images that the file does not list are left out (1): 30 (image 77)" in loaded.notes[0]


def test_numbers_with_a_fraction_of_zero(tmp_path: Path) -> None:
    data = content()
    for entry in data["images"]:
        entry |= {key: float(entry[key]) for key in ("id", "width", "height")}
    for entry in data["categories"]:
        entry["id"] = float(entry["id"])
    for entry in data["annotations"]:
        entry |= {key: float(entry[key]) for key in ("id", "image_id", "category_id", "iscrowd")}
    floats = load(write(tmp_path, data))
    whole = load(write(tmp_path, content()))
    assert floats.fingerprint == whole.fingerprint
    assert [s.coco for s in floats] == [(3, 18), (3, 90), (7, 90)]
    assert all(type(number) is int for s in floats for number in (*s.size, *s.coco))
    assert (floats.samples[0].mask().ignore == whole.samples[0].mask().ignore).all()


def test_categories_of_one_name_are_told_apart(tmp_path: Path) -> None:
    data = content()
    data["categories"].append({"id": 0, "name": "dog", "supercategory": "none"})  # as some tools export it
    data["annotations"].append(annotation(40, 0, [1, 1, 5, 5]))
    loaded = load(write(tmp_path, data))
    assert loaded.classes == ("dog (category 0)", "dog (category 18)", "toothbrush")
    assert [s.image_id for s in loaded] == [
        "a.jpg#dog (category 0)",
        "a.jpg#dog (category 18)",
        "a.jpg#toothbrush",
        "b.jpg",
    ]
    assert "told apart by their ids (2): 'dog (category 0)', 'dog (category 18)'" in loaded.notes[0]


@pytest.mark.parametrize("segmentation", [[], [[]], None, {}])
def test_no_segmentation_is_no_mask(tmp_path: Path, segmentation: Any) -> None:
    data = content()
    for entry in data["annotations"]:
        entry["segmentation"] = segmentation
        del entry["iscrowd"]
    assert [s.mask for s in load(write(tmp_path, data))] == [None] * 3


@pytest.mark.parametrize(("iscrowd", "count"), [(0, 2), (1, 1), (False, 2), (True, 1), (1.0, 1), (None, 2)])
def test_crowds_are_marked_by_numbers_or_truth_values(tmp_path: Path, iscrowd: Any, count: int) -> None:
    data = content()
    data["annotations"][1]["iscrowd"] = iscrowd
    assert len(load(write(tmp_path, data)).samples[0].boxes) == count


def test_a_crowd_in_words_is_refused(tmp_path: Path) -> None:
    data = content()
    data["annotations"][1]["iscrowd"] = "0"  # true in Python
    with pytest.raises(InputError, match="annotation 2 has the iscrowd '0', not 0 or 1"):
        load(write(tmp_path, data))
