"""Networks as people hand them in: they run as the plain network does, or one sentence says why they do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models import Preprocessing, find_classifier, load_model

NETS = """
import torch, torch.nn as nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 2)
    )

def half(): return net().half()
def bfloat(): return net().bfloat16()
def double(): return net().double()
def mixed(): n = net(); n[0].double(); n[4].half(); return n
def compiled(): return torch.compile(net())
def parallel(): return nn.DataParallel(net())
def nested(): return nn.DataParallel(torch.compile(nn.DataParallel(net())))
def exported(): return torch.export.export(net().eval(), (torch.zeros(1, 3, 224, 224),)).module()
def quantized(): return torch.ao.quantization.quantize_dynamic(net().eval(), {nn.Linear})
def lazy():
    return nn.Sequential(nn.LazyConv2d(24, 16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2))
def meta():
    with torch.device("meta"):
        return net()
def scripted(): return torch.jit.script(net().eval())
def complex_(): return net().to(torch.complex64)
class Bare(nn.Module):
    def forward(self, x): return nn.functional.avg_pool2d(x, 16).relu().amax((2, 3))
def parameterless(): return Bare()
def one_image(): return Single()
class Single(nn.Module):
    def __init__(self): super().__init__(); self.net = net()
    def forward(self, x): return self.net(x.view(1, 3, 224, 224))
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(NETS)
    return str(tmp_path / "nets.py")


def noise() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("compiled", 0),
        ("parallel", 0),
        ("nested", 0),
        ("double", 1e-5),
        ("half", 1e-2),
        ("bfloat", 1e-1),
        ("mixed", 1e-2),
    ],
)
def test_it_runs_as_the_plain_network(nets: str, name: str, tolerance: float) -> None:
    plain, model = load_model(f"{nets}:net"), load_model(f"{nets}:{name}")
    assert model.network.layer == plain.network.layer == "1"
    assert all(each.dtype == torch.float32 for each in model.network.parameters())
    one, other = (
        find_method("cam").maps(forward(each.network, noise()), torch.tensor([[0], [1]])) for each in (plain, model)
    )
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert bool(model.notes and "float32" in model.notes[-1]) == (name in ("double", "half", "bfloat", "mixed"))


def test_a_network_without_parameters_runs(nets: str) -> None:
    model = load_model(f"{nets}:parameterless")
    assert model.classes == 3
    assert model.network.device == torch.device("cpu")
    assert find_method("gradcam").maps(forward(model.network, noise()), torch.tensor([[0], [1]])).shape == (
        2,
        1,
        14,
        14,
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("quantized", "is quantized; give the network from before quantization"),
        ("lazy", "has lazy layers without weights; run it on one image first"),
        ("meta", "is on the meta device, without weights; give --weights"),
        ("complex_", "has complex weights"),
        ("one_image", r"accepts one image at a time \(.*\); make it accept batches of any size"),
        ("exported", "exported|one image at a time|cannot be"),
        ("scripted", "TorchScript|cannot be"),
    ],
)
def test_others_are_refused_in_a_sentence(nets: str, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        load_model(f"{nets}:{name}")
    assert "\n" not in str(refusal.value)
    assert name in str(refusal.value)


class Droppy(nn.Module):
    """Has stochastic depth in training; the inner layer is one that its owner keeps in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop, self.fc = nn.Conv2d(3, 4, 16, 16), nn.Dropout(0.5), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.drop(self.conv(images)).mean((2, 3)))


@pytest.mark.parametrize("inner", [False, True])
def test_training_mode_is_refused_and_left_as_it_is(inner: bool) -> None:
    net = Droppy().eval()
    (net.drop if inner else net).train()
    before = [module.training for module in net.modules()]
    with pytest.raises(InputError, match=r"mine is in training mode .*; call eval\(\) on it first"):
        find_classifier(net, "mine")
    assert [module.training for module in net.modules()] == before
    find_classifier(net.eval(), "mine")
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize(
    ("mean", "std", "says"),
    [
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "divide them by 255"),
        ((0.5, 0.5, 0.5), (58.395, 57.12, 57.375), "divide them by 255"),
        ((0.5, 0.5, 0.5), (0.5, 0.0, 0.5), "above 0"),
        ((0.5, 0.5, float("nan")), (0.5, 0.5, 0.5), "finite"),
        ((0.5, 0.5), (0.5, 0.5), "three means"),
    ],
)
def test_preprocessing_of_another_scale_is_refused(mean: Any, std: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Preprocessing(mean, std)


class InPlace(nn.Module):
    """Normalizes its own input, in place or not, and overwrites what it has computed."""

    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.body, self.fc = how, nn.Conv2d(3, 24, 16, 16), nn.Linear(24, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.how(images)
        maps = self.body(x)
        maps.relu_()  # as a statement: nothing uses what it returns
        return self.fc(maps.mean((2, 3)))


def by_statement(images: Tensor) -> Tensor:
    images.sub_(0.45)
    images.div_(0.22)
    return images


def by_view(images: Tensor) -> Tensor:
    images.flatten(1).sub_(0.45)
    return images.div_(0.22)


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "chain": lambda x: x.sub_(0.45).div_(0.22),
    "statements": by_statement,
    "a view": by_view,
    "out": lambda x: torch.div(torch.sub(x, 0.45, out=x), 0.22, out=x),
    "operators": lambda x: x.__isub__(0.45).__itruediv__(0.22),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        "gradcam",
        "occlusion:window=112,stride=112",
        "is-cam",
        "rise:masks=8",
        "backprop",
        "fullgrad",
        "integrated-gradients:steps=2",
        "guided-backprop",
    ],
)
@pytest.mark.parametrize(
    "way", [way if way in ("chain", "statements") else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
)
def test_a_network_that_overwrites_its_input(way: str, method: str) -> None:
    images, classes = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)), torch.tensor([[0]])
    plain = InPlace(lambda x: (x - 0.45) / 0.22).eval().requires_grad_(False)
    expected = find_method(method).maps(forward(find_classifier(plain, "net"), images), classes)
    net, given = InPlace(WAYS[way]).eval().requires_grad_(False), images.clone()
    classifier = find_classifier(net, "net")
    if way == "out" and find_method(method).needs == "image gradients":
        with pytest.raises(InputError, match="no gradients down to the image"):  # as torch itself has none
            find_method(method).maps(forward(classifier, given), classes)
        return
    for _ in range(2):
        found = find_method(method).maps(forward(classifier, given), classes)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(given, images)
