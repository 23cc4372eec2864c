"""``wsol.show``: one figure of photos, models and methods."""

import inspect
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import wsol
from wsol.datasets import Dataset, Sample
from wsol.errors import InputError
from wsol.metrics.tau import DEFAULT_TAU
from wsol.models import Model
from wsol.visualization.predictor import PhotoPredictor
from wsol.visualization.show import show


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_copy_of_another_size_is_shown_in_the_shape_of_its_annotation(
    draw: Callable[..., Path], tmp_path: Path, tiny_model: Model
) -> None:
    path = draw(tmp_path / "a.png", (64, 64))
    sample = Sample("a", 0, np.array([[100, 10, 300, 90.0]]), "edges", path, (400, 100))
    figure = show("a", tiny_model, dataset=Dataset("one", "test", (sample,), ("cat",)), device="cpu", top=1)
    left, right, bottom, top = figure.axes[0].get_images()[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(4)


def test_class_names_are_the_models_or_the_data_sets_or_numbers(tiny_model: Model) -> None:
    crops = [np.zeros((1, 224, 224, 3), np.uint8)]
    class_names = tuple("abcdefg")

    def names(model: Model, dataset: tuple[str, ...]) -> set[str]:
        (row,) = PhotoPredictor([model], ["cam"], top=9).predict(crops, dataset, "x")
        assert row.maps.shape == (7, 14, 14)  # no more than there are
        return set(row.names)

    assert names(replace(tiny_model, class_names=class_names), tuple("1234567")) == set(class_names)
    assert names(tiny_model, tuple("1234567")) == set("1234567")
    assert names(tiny_model, tuple("123")) == {f"class {i}" for i in range(7)}


def test_a_class_agnostic_method_gives_one_panel(tmp_path: Path, draw: Callable[..., Path], tiny_model: Model) -> None:
    path = draw(tmp_path / "a.png")
    headless = replace(tiny_model, classes=0)
    figure = show(path, headless, method="eigencam", device="cpu")
    assert "class-agnostic" in words(figure)
    assert len(figure.axes[0].get_images()) == 3  # photo, overlay, color bar
    with pytest.raises(InputError, match="cam cannot be applied to tiny: the network does not classify"):
        show(path, headless, device="cpu")
    assert len(show(path, tiny_model, device="cpu", method=["eigencam", "cam"]).axes[0].get_images()) == 1 + 1 + 5 + 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"top": 0}, "top is 0"),
        ({"memory": 0}, "memory is 0"),
        ({"tau": 0.12345}, "not on the protocol's grid"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"cmap": "infernal"}, "no colormap 'infernal'; did you mean inferno"),
        ({"method": "cams"}, "unknown method 'cams'"),
        ({"protocol": "wsol"}, "unknown protocol"),
        ({"data_root": "x"}, "require a data set"),
        ({"weights": ["a", "b"]}, "there are 1 models and 2 weights"),
        ({"weights": "a"}, "model tiny is already loaded"),
        ({"images": []}, "the list of images is empty"),
        ({"images": np.full((4, 4, 3), -0.5)}, r"image 1 cannot be used \(its floats range from -0.5 to -0.5, not"),
        ({"images": np.full((4, 4), 70_000)}, r"image 1 cannot be used \(its integers range from 70000 to 70000, not"),
        ({"images": np.zeros((4, 4), np.complex64)}, "image 1 .*its values are of type complex64, not numbers"),
        ({"images": np.zeros((3, 4, 5), np.uint8)}, r"image 1 .*it is an array of shape \(3, 4, 5\), not \(height"),
        ({"images": np.zeros((0, 4), np.uint8)}, r"image 1 .*it is an array of shape \(0, 4\), not \(height"),
    ],
)
def test_invalid_arguments_are_one_sentence(tiny_model: Model, given: dict[str, Any], sentence: str) -> None:
    settings: dict[str, Any] = {"images": np.zeros((4, 4, 3), np.uint8), "model": tiny_model} | given
    with pytest.raises(InputError, match=sentence):
        show(**settings)


@pytest.mark.slow
def test_one_figure_of_several_photos_models_and_methods(
    tmp_path: Path, draw: Callable[..., Path], tiny_model: Model
) -> None:
    path = draw(tmp_path / "a.png")
    array = np.zeros((30, 20), np.uint8)
    pair = [tiny_model, replace(tiny_model, weights="other", sha256="1" * 64)]
    before = plt.get_fignums()
    figure = show([path, array, Image.open(path)], pair, method=("cam", "gradcam"), top=2)
    assert plt.get_fignums() == before
    texts = words(figure)
    for label in ("tiny random cam", "tiny random gradcam", "tiny other cam", "tiny other gradcam"):
        assert texts.count(label) == 3
    assert {"a.png", "image 2", "image 3"} <= {*texts}
    assert len(figure.axes[0].get_images()) == 3 * (1 + 4 * 2) + 1
    file = io.BytesIO()
    figure.savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_show_is_a_function_with_the_usual_threshold() -> None:
    assert wsol.show is show
    assert inspect.signature(show).parameters["tau"].default == DEFAULT_TAU
