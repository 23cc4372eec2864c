"""Which methods are CAM where the gradient is the same at every place, as before global average pooling."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from wsol.methods import METHODS, constant_gradient_map, find_method, forward
from wsol.methods.base import GradientMethod
from wsol.models import Model

# By their formulas, with the same weight w_k at every place: the papers of Grad-CAM, XGrad-CAM and HiResCAM say so.
EXPECTED = {
    "gradcam": "positive cam",
    "gradcam:relu=false": "cam",
    "xgradcam": "positive cam",
    "hirescam": "cam",
    "gradcam-elementwise": None,  # positive products alone
    "gradcam-elementwise:relu=false": "cam",
    "gradcam++": None,  # positive weights alone
    "layercam": None,
    "shapleycam": "positive cam",  # the second derivative is 0
    "bagcams": None,
    "eigengradcam": None,
}


@pytest.mark.parametrize("name", [*EXPECTED])
def test_by_formula(name: str) -> None:
    assert constant_gradient_map(find_method(name)) == EXPECTED[name]


def test_methods_without_such_a_formula() -> None:
    others = [method for method in map(METHODS.get, METHODS.names()) if not isinstance(method, GradientMethod)]
    assert len(others) > 10
    assert {constant_gradient_map(method) for method in others} == {None}


@pytest.mark.parametrize("name", [name for name, kind in EXPECTED.items() if kind])
def test_a_network_with_global_average_pooling(name: str, tiny_model: Model) -> None:
    passed = forward(tiny_model.network, torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    classes = torch.tensor([[0, 3], [5, 6]])
    cam = find_method("cam").maps(passed, classes) / passed.features[0, 0].numel()
    expected = cam.relu() if EXPECTED[name] == "positive cam" else cam
    torch.testing.assert_close(find_method(name).maps(passed, classes), expected, rtol=1e-4, atol=1e-7)


def test_a_users_own_method_may_be_anything() -> None:
    @dataclass(frozen=True)
    class Halved(GradientMethod):
        def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
            return (gradients * features).sum(2) / 2

    @dataclass(frozen=True)
    class Choosy(GradientMethod):
        def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
            raise ValueError("maps should be larger")

    @dataclass(frozen=True)
    class Negative(GradientMethod):
        def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
            return -(gradients * features).sum(2)

    assert [constant_gradient_map(kind()) for kind in (Halved, Choosy, Negative)] == ["cam", None, None]
