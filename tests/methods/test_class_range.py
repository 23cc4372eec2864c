"""A class that the network does not have is refused, by every method and by those of other packages."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torchvision.models import VisionTransformer

from wsol.errors import InputError
from wsol.methods import METHODS, Forward, Method, find_method, forward
from wsol.models import Model, find_classifier


@pytest.fixture
def passed(tiny_model: Model) -> Forward:
    return forward(tiny_model.network, torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


@pytest.mark.sample(5)
@pytest.mark.parametrize("name", METHODS.names())
@pytest.mark.parametrize(("outside", "sentence"), [(-1, "no class -1"), (7, "no class 7"), (999, "no class 999")])
def test_no_method_takes_another_class_instead(passed: Forward, name: str, outside: int, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^the network has {sentence}; give a number from 0 to 6$"):
        find_method(name).maps(passed, torch.tensor([[0, 6], [outside, 0]]))


@pytest.mark.parametrize("name", ["cam", "gradcam", "eigencam"])
def test_the_first_and_the_last_class_are_classes(passed: Forward, name: str) -> None:
    assert find_method(name).maps(passed, torch.tensor([[0, 6], [6, 0]])).shape[:2] == (2, 2)


def test_a_method_of_another_package_is_checked_too(passed: Forward) -> None:
    @dataclass(frozen=True)
    class Constant(Method):
        needs = "features"

        def maps(self, forward: Forward, classes: Tensor) -> Tensor:
            return forward.features.new_zeros(*classes.shape, 2, 2)

    assert Constant().maps(passed, torch.tensor([[6], [0]])).shape == (2, 1, 2, 2)
    with pytest.raises(InputError, match="no class -2"):
        Constant().maps(passed, torch.tensor([[6], [-2]]))


def test_classes_of_a_ranking_are_not_read_back_from_the_device(passed: Forward) -> None:
    """On the device ``meta`` no value can be read: on a GPU the check would wait for everything before it."""
    meta = torch.zeros(2, 1, dtype=torch.int64, device="meta")
    maps = find_method("eigencam").maps(replace(passed, classes_checked=True), meta)
    assert maps.shape[:2] == (2, 1)
    with pytest.raises((NotImplementedError, RuntimeError)):
        find_method("eigencam").maps(passed, meta)


def test_a_network_that_the_method_cannot_be_applied_to() -> None:
    network = find_classifier(VisionTransformer(32, 16, 1, 2, 16, 32, num_classes=5).eval(), "vit", side=32)
    passed, classes = forward(network, torch.zeros(1, 3, 32, 32)), torch.tensor([[0]])
    for name in ("cam", "clip-surgery", "legrad:layers=9"):
        with pytest.raises(InputError, match=f"{name.partition(':')[0]} cannot be applied: "):
            find_method(name).maps(passed, classes)
