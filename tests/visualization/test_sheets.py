"""What is drawn of a photo: boxes in its frame, IoU, and which class is its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsol
from wsol.datasets import Dataset, Sample, load_dataset
from wsol.models import Model
from wsol.protocols import find_protocol
from wsol.visualization.photos import LoadedPhoto, Photo, find_photos, load
from wsol.visualization.predictions import PhotoPrediction
from wsol.visualization.predictor import PhotoPredictor
from wsol.visualization.sheets import lay_out_sheet, locate, percent


def guesses(maps: Any, classes: list[int] | None = None, **changes: Any) -> PhotoPrediction:
    maps = np.asarray(maps, np.float32)
    classes = classes or list(range(len(maps)))
    named = tuple(f"class {i}" for i in classes)
    scores = np.full(len(classes), 0.5, np.float32)
    return replace(
        PhotoPrediction("net", "cam", ("net:0", "cam"), np.array(classes), named, scores, maps, True), **changes
    )


def photo_of(size: tuple[int, int], *truth: Sample) -> tuple[Photo, LoadedPhoto]:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    sample = Sample("a", 0, np.empty((0, 4)), "edges", render=lambda: pixels)
    photo = Photo("a", "a", truth[0] if truth else sample, truth)
    return photo, LoadedPhoto([], "0" * 64, pixels, size)


def test_the_box_of_a_map_worked_out_by_hand() -> None:
    block = np.zeros((1, 8, 8))
    block[0, 2:5, 1:7] = 1
    exact = find_protocol("exact:levels=5")
    located = locate(guesses(block), *photo_of((8, 8)), exact, np.array([0.5]))
    assert located.boxes.tolist() == [[1, 2, 7, 5]]
    assert np.isnan(located.ious).all()
    np.testing.assert_array_equal(located.heats[0], block[0])


def test_a_box_is_scaled_from_the_protocols_frame_to_the_photo() -> None:
    square = np.zeros((1, 224, 224))
    square[0, 56:112, 28:84] = 1  # the protocol's inclusive corner is x + w, so that its box ends at 85 and 113
    truth = Sample("a", 0, np.array([[56, 28, 170, 56.0]]), "edges", size=(448, 112))
    field = find_protocol("wsolevaluation")
    located = locate(guesses(square), *photo_of((448, 112), truth), field, np.array([0.5]))
    assert located.boxes.tolist() == [[56, 28, 170, 56.5]]
    # the truth in the frame: corners (28, 56, 85, 112), inclusive; both are 57 or 58 pixels a side
    assert located.ious[0] == pytest.approx((57 * 57) / (58 * 57))


@pytest.mark.parametrize("protocol", ["wsolevaluation", "exact", "zhou2016:crops=1"])
def test_where_there_is_no_box_it_is_said(protocol: str) -> None:
    conventions = find_protocol(protocol)
    photo, seen = photo_of((60, 40))
    flat = guesses(np.zeros((1, 7, 7)))
    located = locate(flat, photo, seen, conventions, np.array([0.2]))
    assert np.isnan(located.boxes).all()
    (panel,) = lay_out_sheet(photo, seen, [("", located)], ()).rows[0][1]
    assert panel.box is None
    assert panel.detail == "50.0 % · no box"


@pytest.mark.parametrize(
    ("probability", "text"), [(1, "100.0 %"), (0.62149, "62.1 %"), (0.0006, "0.1 %"), (0.0004, "< 0.1 %")]
)
def test_percent(probability: float, text: str) -> None:
    assert percent(probability) == text


@pytest.mark.parametrize("protocol", ["wsolevaluation", "exact", "zhou2016"])
def test_classes_probabilities_boxes_and_ious_are_those_of_an_evaluation(
    tiny_model: Model, csv_data: Path, protocol: str
) -> None:
    tau = 0.4
    images = load_dataset("csv", csv_data).limit(2)
    told = wsol.evaluate(tiny_model, dataset=images, protocol=protocol, tau=tau, device="cpu", batch_size=1).predictions
    conventions = find_protocol(protocol)
    for photo in find_photos([csv_data / sample.image_id for sample in images], images):
        seen = load(photo, conventions.view)
        (row,) = PhotoPredictor([tiny_model], ["cam"]).predict(seen.crops, images.classes, photo.name)
        located = locate(row, photo, seen, conventions, np.array([tau]))
        own = told[(told["image_id"] == photo.name) & (told["rank"] > 0)]
        assert row.classes.tolist() == own["class_id"].tolist()
        np.testing.assert_array_equal(row.probabilities, own["score"])
        frame = conventions.frame(seen.size)
        boxes = located.boxes * [*frame, *frame] / [*seen.size, *seen.size]
        np.testing.assert_allclose(boxes, own[["x0", "y0", "x1", "y1"]], atol=1e-9)
        np.testing.assert_allclose(located.ious, own["iou"], atol=1e-9)


def test_the_true_class_and_its_boxes_are_marked(tiny_model: Model, csv_data: Path) -> None:
    images, conventions = load_dataset("csv", csv_data), find_protocol("wsolevaluation")
    (photo,) = find_photos([csv_data / "04.png"], images)
    seen = load(photo, conventions.view)
    (row,) = PhotoPredictor([tiny_model], ["cam"], top=7).predict(seen.crops, images.classes, "04.png")
    located = locate(row, photo, seen, conventions, np.array([0.2]))
    drawn = lay_out_sheet(photo, seen, [("", located)], images.classes)
    assert drawn.detail == "4"
    np.testing.assert_array_equal(drawn.truth, photo.truth[0].boxes)
    assert len(drawn.truth) == 2
    assert [panel.name for panel in drawn.rows[0][1] if panel.right] == ["4"]
    other = replace(row, names=tuple(f"of another data set {i}" for i in row.classes))
    located = replace(located, guesses=other)
    assert not any(panel.right for panel in lay_out_sheet(photo, seen, [("", located)], images.classes).rows[0][1])


def test_a_file_of_several_classes_has_the_boxes_of_all(draw: Callable[..., Path], tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", (60, 40))
    samples = tuple(
        Sample(f"a/{label}", label, np.array([[label, 2, 30, 30.0]]), "edges", path, (60, 40)) for label in (0, 1)
    )
    images = Dataset("two", "test", samples, ("cat", "dog"))
    (photo,) = find_photos([path], images)
    seen = load(photo, find_protocol("exact").view)
    located = locate(
        guesses(np.eye(8)[None], [1], names=("dog",)), photo, seen, find_protocol("exact"), np.array([0.2])
    )
    drawn = lay_out_sheet(photo, seen, [("", located)], images.classes)
    assert drawn.detail == "cat, dog"
    assert drawn.truth.tolist() == [[0, 2, 30, 30], [1, 2, 30, 30]]
    assert drawn.rows[0][1][0].right
