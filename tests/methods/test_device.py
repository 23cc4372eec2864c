"""Methods on a device: the CPU's maps, from few launches, and nothing is read back meanwhile."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods import METHODS, Forward, find_method, forward
from wsol.methods.base import GradientMethod
from wsol.models import Classifier, GapClassifier, find_classifier

CHEAP = ["cam", "gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise", "eigencam"]
CHEAP += ["nwc", "fem", "kpca-cam", "bagcams", "shapleycam", "eigengradcam"]
CLASSES = torch.tensor([[0, 6, 3], [4, 4, 1]])
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def build(head: str = "linear") -> Classifier:
    """A network with global pooling: average and a linear layer, average alone, max, or more behind the pooling."""
    torch.manual_seed(0)
    pool = nn.AdaptiveMaxPool2d(1) if head == "max" else nn.AdaptiveAvgPool2d(1)
    tails = {"alone": [], "more": [nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 7)]}
    layers = [nn.Conv2d(3, 7, 5, 4), nn.ReLU(), pool, nn.Flatten(), *tails.get(head, [nn.Linear(7, 7)])]
    return find_classifier(nn.Sequential(*layers).eval().requires_grad_(False), head, "1")


def images() -> Tensor:
    return torch.randn(2, 3, 33, 41, generator=torch.Generator().manual_seed(1))


def differentiate(passed: Forward, classes: Tensor) -> Tensor:
    """The gradients by torch, score by score."""
    rows = []
    for i, row in enumerate(classes):
        rows.append([])
        for chosen in row:
            leaf = passed.features[i : i + 1].clone().requires_grad_()
            extras = passed.extras
            score = passed.network.forward_head(leaf, (extras[0], extras[1][:0], *extras[2:]))[0, chosen]
            rows[-1].append(torch.autograd.grad(score, leaf)[0][0])
    return torch.stack([torch.stack(row) for row in rows])


@pytest.mark.parametrize("head", ["linear", "alone", "max", "more"])
@pytest.mark.parametrize("k", [1, 3])
def test_gradients_are_those_of_torch_to_the_bit(head: str, k: int) -> None:
    network = build(head)
    assert isinstance(network, GapClassifier) == (head != "more")
    passed = forward(network, images())
    tolerance = 1e-6 if head == "more" else 0  # products of several classes at once are summed in another order
    found, expected = passed.gradients(CLASSES[:, :k]), differentiate(passed, CLASSES[:, :k])
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_no_gradients_are_computed_where_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = forward(build(), images())
    monkeypatch.setattr(torch.autograd, "grad", None)
    assert find_method("gradcam++").maps(passed, CLASSES).shape == (2, 3, 8, 10)
    assert not passed.gradients(CLASSES).requires_grad


@pytest.mark.parametrize("name", [name for name in METHODS.names() if isinstance(METHODS.get(name), GradientMethod)])
def test_all_classes_in_one_call_have_the_maps_of_one_class_after_the_other(name: str) -> None:
    passed, method = forward(build("more"), images()), find_method(name)
    assert isinstance(method, GradientMethod)
    gradients = method.differentiate(passed, CLASSES)
    (together,) = method._combine_classes(passed.features, gradients, 3)
    torch.testing.assert_close(together, method.maps(passed, CLASSES), rtol=1e-5, atol=1e-6)


@pytest.mark.sample(4)
@pytest.mark.parametrize("head", ["linear", "alone", "more"])
@pytest.mark.parametrize("name", [*CHEAP, "eigencam:centered=true"])
def test_nothing_is_read_from_the_device(name: str, head: str) -> None:
    """On the device ``meta`` no value can be read: on a GPU each would make the processor wait."""
    network = build(head)
    if find_method(name).unsupported_reason(network):
        pytest.skip("no CAM without a linear head")
    passed = forward(copy.deepcopy(network).to("meta"), images().to("meta"))
    maps = find_method(name).maps(replace(passed, classes_checked=True), CLASSES.to("meta"))
    assert maps.is_meta
    assert maps.shape == (2, 3, 8, 10)


@gpu
@pytest.mark.parametrize("head", ["linear", "alone", "max", "more"])
@pytest.mark.parametrize("name", [*CHEAP, "eigencam:centered=true"])
def test_a_gpu_has_the_maps_of_the_cpu(name: str, head: str) -> None:
    network, method = build(head), find_method(name)
    if method.unsupported_reason(network):
        pytest.skip("no CAM without a linear head")
    expected = method.maps(forward(network, images()), CLASSES)
    on_gpu = copy.deepcopy(network).to("cuda")
    found = method.maps(forward(on_gpu, images().to("cuda")), CLASSES.to("cuda"))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@gpu
@pytest.mark.parametrize("name", [*CHEAP, "backprop"])
def test_a_class_that_does_not_exist_harms_no_gpu(name: str) -> None:
    """Behind an assertion of a kernel every later call would fail."""
    network = build().to("cuda")
    passed = forward(network, images().to("cuda"))
    with pytest.raises(InputError, match=r"^the network has no class -1; give a number from 0 to 6$"):
        find_method(name).maps(passed, torch.tensor([[0], [-1]], device="cuda"))
    with pytest.raises(InputError, match=r"no class 7;"):
        find_method(name).maps(passed, torch.tensor([[0], [7]], device="cuda"))
    assert find_method(name).maps(passed, torch.tensor([[0], [6]], device="cuda")).isfinite().all()


@gpu
def test_the_processor_waits_for_no_map() -> None:
    passed = replace(forward(build().to("cuda"), images().to("cuda")), classes_checked=True)
    classes = CLASSES.to("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for name in [*CHEAP, "eigencam:centered=true"]:
            find_method(name).maps(passed, classes)
    finally:
        torch.cuda.set_sync_debug_mode("default")
