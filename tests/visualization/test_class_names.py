"""Names of a network's classes, and classes given by name or number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet50_Weights, squeezenet1_1

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models import Model, load_model
from wsol.models.base import PublishedWeights
from wsol.visualization.class_names import class_names, find_class
from wsol.visualization.predictions import PhotoPrediction
from wsol.visualization.predictor import PhotoPredictor

LETTERS = tuple("abcdefg")
IMAGENET = tuple(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


def test_the_names_are_those_of_the_weights_or_of_a_data_set(tiny_model: Model) -> None:
    published = replace(tiny_model, categories=tuple("hijklmn"))
    assert class_names(published, ()) == tuple("hijklmn")
    assert class_names(published, tuple("123")) == tuple("hijklmn")  # the data set has other classes
    assert class_names(published, LETTERS) == LETTERS
    assert class_names(replace(published, class_names=tuple("tuvwxyz")), LETTERS) == tuple("tuvwxyz")
    assert class_names(replace(tiny_model, categories=IMAGENET), ()) == ()  # another number of classes
    assert class_names(tiny_model, ()) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("tench", 0), ("Great White Shark", 2), ("3", 3), (3, 3), ("number:5", 5), ("name:goldfish", 1), ("0999", 999)],
)
def test_names_and_numbers(tiny_model: Model, given: str | int, expected: int) -> None:
    """ImageNet's first classes are tench, goldfish and great white shark."""
    assert find_class(given, replace(tiny_model, classes=1000), IMAGENET) == expected


def test_case_and_synonyms_matter_only_where_nothing_is_equal(tiny_model: Model) -> None:
    names = ("tench, Tinca tinca", "Crane", "crane", "crane bird, crane", "Cat", "cat, puss", "puss")
    assert find_class("tinca TINCA", tiny_model, names) == 0
    assert [find_class(each, tiny_model, names) for each in ("Crane", "crane", "puss", "Cat")] == [1, 2, 6, 4]
    with pytest.raises(InputError, match=r"tiny has several classes called 'CRANE', with the numbers 1, 2, 3; give"):
        find_class("CRANE", tiny_model, names)
    with pytest.raises(InputError, match=r"called 'same', with the numbers 0, 1, 2, 3, 4, 5, 6; give number:0 or"):
        find_class("same", tiny_model, ("same",) * 7)


def test_a_number_that_is_the_name_of_another_class_is_refused(tiny_model: Model) -> None:
    names = ("1", "2", "0", "3", "x", "7", "9")
    with pytest.raises(
        InputError, match=r"tiny: 1 is the name of class 0 and the number of '2'; give name:1 or number:1"
    ):
        find_class("1", tiny_model, names)
    assert (find_class("name:1", tiny_model, names), find_class("number:1", tiny_model, names)) == (0, 1)
    assert find_class(1, tiny_model, names) == 1  # in Python a number is no name
    assert find_class("3", tiny_model, names) == 3  # both are the same class
    assert (find_class("4", tiny_model, names), find_class("9", tiny_model, names)) == (4, 6)


@pytest.mark.parametrize(
    ("given", "names", "sentence"),
    [
        ("tenchh", ("tench", *"abcdef"), r"has no class 'tenchh'; did you mean tench\? \(or a number from 0 to 6\)"),
        ("7", LETTERS, r"has no class '7'; give another name \(or a number from 0 to 6\)"),
        (-1, LETTERS, "has no class '-1'"),
        (7, LETTERS, "has no class '7'"),
        ("1" * 5000, LETTERS, "has no class '1111"),
        ("number:a", LETTERS, "has no class 'a'"),
        ("name:1", LETTERS, "has no class '1'"),
        ("tench", (), "these weights have no class names, so 'tench' cannot be found; give a number from 0 to 6"),
        ("", LETTERS, "has no class ''"),
    ],
)
def test_no_such_class_is_one_sentence(
    tiny_model: Model, given: str | int, names: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        find_class(given, tiny_model, names)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_published_weights_come_with_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    save_file(squeezenet1_1().state_dict(), tmp_path / "published.safetensors")
    assert class_names(load_model("squeezenet1_1", tmp_path / "published.safetensors"), ()) == ()  # another's weights
    monkeypatch.setattr(PublishedWeights, "matches", lambda *_: True)  # as if the authors had published this file
    model = load_model("squeezenet1_1", tmp_path / "published.safetensors")
    assert class_names(model, ()) == IMAGENET
    (row,) = predict(model, ["cam"], "tench", 1)
    assert row.names == ("tench", "goldfish")


def predict(model: Model, methods: list[str], *classes: str | int) -> list[PhotoPrediction]:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    return PhotoPredictor([model], methods, classes=classes).predict([pixels], (), "x")


def test_the_maps_are_those_of_the_given_classes(tiny_model: Model) -> None:
    model = replace(tiny_model, categories=LETTERS)
    (row,) = predict(model, ["cam"], "f", 2, "number:5", "c")
    assert (row.classes.tolist(), row.names) == ([5, 2], ("f", "c"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    passed = forward(model.network, model.preprocessing.normalize(pixels, torch.device("cpu")))
    torch.testing.assert_close(row.probabilities, passed.logits.softmax(1)[0, [5, 2]].numpy())
    torch.testing.assert_close(row.maps, find_method("cam").maps(passed, torch.tensor([[5, 2]]))[0].numpy())


def test_a_class_that_cannot_matter_is_refused(tiny_model: Model) -> None:
    with pytest.raises(InputError, match="eigencam gives the same map for every class; leave out the class"):
        predict(tiny_model, ["eigencam"], 2)
    with pytest.raises(InputError, match="tiny does not classify; leave out the class"):
        predict(replace(tiny_model, classes=0), ["eigencam"], 2)
    rows = predict(tiny_model, ["eigencam", "cam"], 2)
    assert [row.maps.shape[0] for row in rows] == [1, 1]
