"""The panels of a photo: boxes in its frame, IoU, and which class is correct."""

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
from wsol.visualization.panels import arrange_panels, format_percent, localize_prediction
from wsol.visualization.photos import LoadedPhoto, Photo, find_photos, load
from wsol.visualization.predictions import PhotoPrediction
from wsol.visualization.predictor import PhotoPredictor


def make_prediction(maps: Any, classes: list[int] | None = None, **changes: Any) -> PhotoPrediction:
    maps = np.asarray(maps, np.float32)
    classes = classes or list(range(len(maps)))
    names = tuple(f"class {i}" for i in classes)
    scores = np.full(len(classes), 0.5, np.float32)
    return replace(
        PhotoPrediction("net", "cam", ("net:0", "cam"), np.array(classes), names, scores, maps, True), **changes
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
    localized = localize_prediction(make_prediction(block), *photo_of((8, 8)), exact, np.array([0.5]))
    assert localized.boxes.tolist() == [[1, 2, 7, 5]]
    assert np.isnan(localized.ious).all()
    np.testing.assert_array_equal(localized.heats[0], block[0])


def test_a_box_is_scaled_from_the_protocols_frame_to_the_photo() -> None:
    square = np.zeros((1, 224, 224))
    square[0, 56:112, 28:84] = 1  # the protocol's inclusive corner is x + w, so that its box ends at 85 and 113
    truth = Sample("a", 0, np.array([[56, 28, 170, 56.0]]), "edges", size=(448, 112))
    field = find_protocol("wsolevaluation")
    localized = localize_prediction(make_prediction(square), *photo_of((448, 112), truth), field, np.array([0.5]))
    assert localized.boxes.tolist() == [[56, 28, 170, 56.5]]
    # the truth in the frame: corners (28, 56, 85, 112), inclusive; both are 57 or 58 pixels a side
    assert localized.ious[0] == pytest.approx((57 * 57) / (58 * 57))


@pytest.mark.parametrize("protocol", ["wsolevaluation", "exact", "zhou2016:crops=1"])
def test_a_missing_box_is_said(protocol: str) -> None:
    conventions = find_protocol(protocol)
    photo, loaded = photo_of((60, 40))
    flat = make_prediction(np.zeros((1, 7, 7)))
    localized = localize_prediction(flat, photo, loaded, conventions, np.array([0.2]))
    assert np.isnan(localized.boxes).all()
    (panel,) = arrange_panels(photo, loaded, [("", localized)], ()).rows[0][1]
    assert panel.box is None
    assert panel.detail == "50.0 % · no box"


@pytest.mark.parametrize(
    ("probability", "text"), [(1, "100.0 %"), (0.62149, "62.1 %"), (0.0006, "0.1 %"), (0.0004, "< 0.1 %")]
)
def test_percent(probability: float, text: str) -> None:
    assert format_percent(probability) == text


@pytest.mark.parametrize("protocol", ["wsolevaluation", "exact", "zhou2016"])
def test_classes_probabilities_boxes_and_ious_are_those_of_an_evaluation(
    tiny_model: Model, csv_data: Path, protocol: str
) -> None:
    tau = 0.4
    images = load_dataset("csv", csv_data).limit(2)
    evaluated = wsol.evaluate(
        tiny_model, dataset=images, protocol=protocol, tau=tau, device="cpu", batch_size=1
    ).predictions
    conventions = find_protocol(protocol)
    for photo in find_photos([csv_data / sample.image_id for sample in images], images):
        loaded = load(photo, conventions.view)
        (row,) = PhotoPredictor([tiny_model], ["cam"]).predict(loaded.crops, images.classes, photo.name)
        localized = localize_prediction(row, photo, loaded, conventions, np.array([tau]))
        expected = evaluated[(evaluated["image_id"] == photo.name) & (evaluated["rank"] > 0)]
        assert row.classes.tolist() == expected["class_id"].tolist()
        np.testing.assert_array_equal(row.probabilities, expected["score"])
        frame = conventions.frame(loaded.size)
        boxes = localized.boxes * [*frame, *frame] / [*loaded.size, *loaded.size]
        np.testing.assert_allclose(boxes, expected[["x0", "y0", "x1", "y1"]], atol=1e-9)
        np.testing.assert_allclose(localized.ious, expected["iou"], atol=1e-9)


def test_the_true_class_and_its_boxes_are_marked(tiny_model: Model, csv_data: Path) -> None:
    images, conventions = load_dataset("csv", csv_data), find_protocol("wsolevaluation")
    (photo,) = find_photos([csv_data / "04.png"], images)
    loaded = load(photo, conventions.view)
    (row,) = PhotoPredictor([tiny_model], ["cam"], top=7).predict(loaded.crops, images.classes, "04.png")
    localized = localize_prediction(row, photo, loaded, conventions, np.array([0.2]))
    panels = arrange_panels(photo, loaded, [("", localized)], images.classes)
    assert panels.detail == "4"
    np.testing.assert_array_equal(panels.truth, photo.truth[0].boxes)
    assert len(panels.truth) == 2
    assert [panel.name for panel in panels.rows[0][1] if panel.correct] == ["4"]
    other = replace(row, names=tuple(f"of another data set {i}" for i in row.classes))
    localized = replace(localized, prediction=other)
    assert not any(
        panel.correct for panel in arrange_panels(photo, loaded, [("", localized)], images.classes).rows[0][1]
    )


def test_a_file_of_several_classes_has_the_boxes_of_all(draw: Callable[..., Path], tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", (60, 40))
    samples = tuple(
        Sample(f"a/{label}", label, np.array([[label, 2, 30, 30.0]]), "edges", path, (60, 40)) for label in (0, 1)
    )
    images = Dataset("two", "test", samples, ("cat", "dog"))
    (photo,) = find_photos([path], images)
    loaded = load(photo, find_protocol("exact").view)
    localized = localize_prediction(
        make_prediction(np.eye(8)[None], [1], names=("dog",)), photo, loaded, find_protocol("exact"), np.array([0.2])
    )
    panels = arrange_panels(photo, loaded, [("", localized)], images.classes)
    assert panels.detail == "cat, dog"
    assert panels.truth.tolist() == [[0, 2, 30, 30], [1, 2, 30, 30]]
    assert panels.rows[0][1][0].correct
