"""What holds for every method whatever its formula, and the networks on which the peers' formulas are compared."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
import torchvision.models
from torch import Tensor, nn

from wsol.methods import find_method, forward
from wsol.models import Classifier, find_classifier

pytestmark = pytest.mark.sample(3)

# Every method once, with so few samples that all of this file runs in seconds.
METHODS = [
    "cam",
    "gradcam",
    "gradcam:relu=false",
    "gradcam++",
    "xgradcam",
    "layercam",
    "hirescam",
    "eigencam",
    "gradcam-elementwise",
    "gradcam-elementwise:relu=false",
    "bagcams",
    "shapleycam",
    "eigengradcam",
    "kpca-cam",
    "fem",
    "fem:binary=false",
    "nwc",
    "scorecam",
    "ablationcam",
    "fullgrad",
    "smoothgradcam++:samples=2",
    "ss-cam:samples=2",
    "is-cam:samples=3",
    "rise:masks=20",
    "occlusion:window=10,stride=6",
    "backprop",
    "guided-backprop",
    "integrated-gradients:steps=5",
]
RANDOM = ["smoothgradcam++:samples=2", "ss-cam:samples=2", "rise:masks=20"]
MEMORY = 2**31


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights in float64, also where zeros or ones are usual (biases, batch statistics): nothing may cancel."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) * (high - low) + low)

    network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # This keeps activations and logits near one in size, so that no epsilon of a peer has a say.
            bound = (6 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.5
            uniform(parameter, -bound, bound)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.weight, 0.5, 1.5)
                uniform(module.running_mean, -0.3, 0.3)
                uniform(module.running_var, 0.5, 1.5)
    return network


class Plain(nn.Module):
    """Convolutions with ReLU, global average pooling, one linear layer."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 10, 3, stride=2, padding=1),
            nn.ReLU(inplace),
            nn.Conv2d(10, 12, 3, padding=1),
            nn.ReLU(inplace),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(self.features(images)), 1))


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        # One module that is called twice and works in place, as in torchvision.
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.downsample(x)
        return self.relu(out)


class Residual(nn.Module):
    """A ResNet in small: batch normalization, shortcuts, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(Block(6, 8, 1), Block(8, 10, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(10, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(self.blocks(self.relu(self.bn(self.conv(images))))), 1))


class Head(nn.Module):
    """Convolutions, pooling to a few cells, and a head that is not linear: no CAM, but gradients all the same."""

    def __init__(self, cells: int = 2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(8, 9, 3, stride=2, padding=1), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(cells)
        self.classifier = nn.Sequential(nn.Linear(9 * cells**2, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(images)), 1))


@cache
def cut(network: nn.Module, layer: str) -> Classifier:
    """The network cut at a layer, once for all its maps: that takes longer than the maps of such small networks."""
    return find_classifier(network, "peer", layer)


@dataclass(frozen=True)
class Case:
    """A network, its layer, and a batch with classes of interest that differ between the images."""

    network: nn.Module
    layer: str
    images: Tensor
    classes: Tensor

    def peer(self) -> tuple[nn.Module, nn.Module]:
        """A copy for a peer, which may leave gradients and hooks on it, and the layer in that copy."""
        network = copy.deepcopy(self.network)
        return network, network.get_submodule(self.layer)

    def each(self) -> list[tuple[int, int, Tensor, int]]:
        """Index, position, image and class of each map, one at a time as the peers take them."""
        return [
            (i, j, self.images[i : i + 1], int(chosen))
            for i, row in enumerate(self.classes)
            for j, chosen in enumerate(row)
        ]

    def maps(self, spec: str, memory: int = MEMORY) -> np.ndarray:
        passed = forward(cut(self.network, self.layer), self.images, memory=memory)
        return find_method(spec).maps(passed, self.classes).cpu().numpy()


def draw_images(n: int, height: int, width: int, seed: int = 7) -> Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


BUILDERS: dict[str, tuple[Callable[[], nn.Module], str, tuple[int, int]]] = {
    "plain": (Plain, "features.6", (32, 32)),
    # Ahead of a ReLU, so that activations have both signs, and with a network behind the layer that is not linear.
    "signed": (Plain, "features.3", (32, 32)),
    # Not square: a transposed map would have the wrong shape.
    "residual": (Residual, "blocks", (36, 28)),
    "head": (Head, "features.3", (32, 32)),
    "resnet18": (torchvision.models.resnet18, "layer3", (64, 64)),
    "squeezenet": (torchvision.models.squeezenet1_1, "features.3", (48, 48)),
}
SMALL = ["plain", "signed", "residual", "head"]
LARGE = ["resnet18", "squeezenet"]


@cache
def make(name: str) -> Case:
    builder, layer, size = BUILDERS[name]
    network, images = randomize(builder()), draw_images(2, *size)
    if name in LARGE:
        # SqueezeNet ends in a ReLU: of most of its thousand scores nothing is left, neither gradient nor divisor.
        with torch.no_grad():
            return Case(network, layer, images, network(images).topk(2).indices)
    return Case(network, layer, images, torch.tensor([[0, 3, 1], [2, 1, 3]]))


def minmax(values: np.ndarray) -> np.ndarray:
    """Each map from 0 to 1; one without contrast becomes 0, as a ReLU may leave nothing of it."""
    low = values.min((-2, -1), keepdims=True)
    span = values.max((-2, -1), keepdims=True) - low
    return (values - low) / np.where(span > 0, span, 1)


def assert_same(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-5) -> None:
    """Min-max normalized maps agree, and enough of them show something."""
    assert ours.shape == theirs.shape
    contrast = np.ptp(theirs, (-2, -1)) > 0
    assert contrast.mean() >= 0.5, "most maps are blank: this comparison would say little"
    np.testing.assert_allclose(minmax(ours), minmax(theirs), rtol=0, atol=tolerance)


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same numbers, but for the order in which float64 sums were taken."""
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max())


@pytest.mark.parametrize("spec", METHODS)
def test_maps_do_not_depend_on_the_rest_of_the_batch(spec):
    case = make("residual")
    images = draw_images(3, 36, 28, seed=11) * torch.tensor([1.0, 5.0, 0.2])[:, None, None, None]
    classes = torch.tensor([[0, 3], [2, 1], [5, 0]])
    together = Case(case.network, case.layer, images, classes).maps(spec)
    for i in range(3):
        alone = Case(case.network, case.layer, images[i : i + 1], classes[i : i + 1]).maps(spec)
        close(together[i : i + 1], alone)


@pytest.mark.parametrize("spec", METHODS)
def test_maps_do_not_depend_on_the_other_classes(spec):
    case = make("plain")
    all_of_them = case.maps(spec)
    for j in range(case.classes.shape[1]):
        close(all_of_them[:, j : j + 1], Case(case.network, case.layer, case.images, case.classes[:, [j]]).maps(spec))


@pytest.mark.parametrize("spec", METHODS)
def test_maps_do_not_depend_on_the_memory(spec):
    case = make("plain")
    close(case.maps(spec, memory=2**19), case.maps(spec))


@pytest.mark.parametrize("grads", [True, False], ids=["gradients on", "no_grad"])
@pytest.mark.parametrize("spec", METHODS)
def test_network_is_left_as_it_was(spec, grads):
    case = make("residual")
    network = copy.deepcopy(case.network)
    for parameter in network.blocks[0].parameters():
        parameter.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    state = copy.deepcopy(network.state_dict())
    kinds = [type(module) for module in network.modules()]
    images = case.images.clone()
    with torch.set_grad_enabled(grads):
        maps = Case(network, case.layer, images, case.classes).maps(spec)
        assert torch.is_grad_enabled() == grads

    assert maps.dtype == np.float64
    assert np.isfinite(maps).all()
    assert torch.equal(images, case.images)
    assert images.grad is None
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [parameter.requires_grad for parameter in network.parameters()] == wanted
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert [type(module) for module in network.modules()] == kinds
    for module in network.modules():
        assert not module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not module._backward_pre_hooks


@pytest.mark.parametrize("spec", METHODS)
def test_frozen_networks_and_no_grad_change_nothing(spec):
    case = make("residual")
    network = copy.deepcopy(case.network).requires_grad_(False)
    with torch.no_grad():
        close(Case(network, case.layer, case.images, case.classes).maps(spec), case.maps(spec))


@pytest.mark.parametrize("spec", METHODS)
def test_relu_in_place_behind_the_layer_changes_nothing(spec):
    # Such a ReLU overwrites what a hook on the layer was handed: the peers then take its output for the layer's.
    if spec in ("cam", "nwc"):
        pytest.skip("CAM has no say on layers ahead of the last")
    case = make("signed")
    inplace = Plain(inplace=True).double().eval()
    inplace.load_state_dict(case.network.state_dict())
    close(Case(inplace, case.layer, case.images, case.classes).maps(spec), case.maps(spec))


@pytest.mark.parametrize("spec", RANDOM)
def test_noise_is_the_seeds_alone(spec):
    # Not on a linear layer behind global average pooling, whose gradients noise does not change.
    case = make("head")
    torch.manual_seed(1)
    first = case.maps(spec)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    np.testing.assert_array_equal(case.maps(spec), first)
    np.testing.assert_array_equal(case.maps(spec + ",seed=0"), first)
    assert np.abs(minmax(case.maps(spec + ",seed=5")) - minmax(first)).max() > 1e-3
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was drawn from"


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "mobilenet_v2", "densenet121"])
def test_gradients_give_cam_where_pooling_and_one_linear_layer_follow(name):
    # d logit / d A is the class's weight over the number of positions, everywhere: four formulas, one map.
    network = randomize(torchvision.models.get_model(name, weights=None, num_classes=10))
    classifier = find_classifier(network, name, side=64)
    passed = forward(classifier, draw_images(2, 64, 64), memory=MEMORY)
    classes = torch.tensor([[0, 4, 9], [3, 4, 1]])
    cam = find_method("cam").maps(passed, classes)
    positions = cam.shape[-2] * cam.shape[-1]
    for spec in ("gradcam:relu=false", "gradcam-elementwise:relu=false", "hirescam"):
        torch.testing.assert_close(
            find_method(spec).maps(passed, classes) * positions, cam, rtol=1e-10, atol=1e-10 * float(cam.abs().max())
        )
    # Grad-CAM's own ReLU is then the only difference left.
    torch.testing.assert_close(find_method("gradcam").maps(passed, classes) * positions, cam.relu(), rtol=1e-10, atol=0)
