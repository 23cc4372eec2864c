import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask as rle

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
