"""Thresholded average pooling: by hand, found in networks whoever wrote it, in training and in every method."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models import GapClassifier, find_architecture, find_classifier, find_gap, load_matching, load_model
from wsol.models.pooling import ThresholdedAvgPool2d, make_pooling, pool_maps
from wsol.models.theta import find_theta
from wsol.registry import with_settings

CHOSEN = torch.tensor([[0, 3], [4, 1]])


def test_by_hand() -> None:
    maps = torch.tensor([[[10.0, 1.0], [1.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[-4.0, -2.0], [-1.0, -1.0]]])[None]
    leaf = maps.clone().requires_grad_()
    pooled = ThresholdedAvgPool2d(0.1)(leaf)
    assert pooled.shape == (1, 3, 1, 1)
    assert pooled.flatten().tolist() == [5.75, 0, -1]  # 1 is not above 0.1 x 10; (10 + 1.5) / 2
    (gradient,) = torch.autograd.grad(pooled.sum(), leaf)
    expected = torch.tensor([[[0.5, 0], [0.5, 0]], [[0.25, 0.25], [0.25, 0.25]], [[0, 0], [0.5, 0.5]]])
    torch.testing.assert_close(gradient[0], expected)


def test_between_average_and_maximum() -> None:
    maps = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(pool_maps(maps, "thresholded", 0), pool_maps(maps, "average"))
    torch.testing.assert_close(pool_maps(maps, "thresholded", 1 - 1e-12), pool_maps(maps, "max"))
    assert repr(make_pooling("thresholded", 0.25)) == "ThresholdedAvgPool2d(theta=0.25)"
    for theta in (-0.1, 1, float("nan")):
        with pytest.raises(ValueError, match="which must be 0 or more and below 1"):
            ThresholdedAvgPool2d(theta)


class Net(nn.Module):
    """A convolution, a ReLU or none, and a pooling given as a function."""

    def __init__(self, pool: Callable[[Tensor], Tensor], relu: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act = nn.Conv2d(3, 6, 16, 16), nn.ReLU() if relu else nn.Identity()
        self.fc, self.pool = nn.Linear(6, 5), pool

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self.act(self.conv(images))).flatten(1))


def of_the_authors(maps: Tensor) -> Tensor:
    """Guards the division, so that a map without positive values gives 0."""
    threshold = maps.flatten(2).max(2)[0][:, :, None, None] * 0.25
    kept = torch.where(maps > threshold, maps, torch.zeros_like(maps))
    return kept.sum((2, 3)) / (kept > 0).sum((2, 3)).clamp(min=1)


def masked(maps: Tensor) -> Tensor:
    mask = (maps >= 0.0137 * maps.amax((2, 3), keepdim=True)).float()
    return (maps * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-8)


def images(n: int = 2, side: int = 224) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("relu", [True, False])
def test_the_layer_is_found_with_its_threshold(relu: bool) -> None:
    net = Net(ThresholdedAvgPool2d(0.3), relu).eval().requires_grad_(False)
    found = find_gap(net, "net")
    assert (found.layer, found.pooling, found.theta) == ("act" if relu else "conv", "thresholded", 0.3)
    assert found.linear is net.fc
    torch.testing.assert_close(found(images()), net(images()))


@pytest.mark.parametrize("pool", [of_the_authors, masked])
def test_code_of_others_is_found_behind_a_relu(pool: Callable[[Tensor], Tensor]) -> None:
    net = Net(pool).eval().requires_grad_(False)
    found = find_classifier(net, "net")
    assert found.layer == "act"
    assert not isinstance(found, GapClassifier)  # the network's own code pools
    passed = forward(found, images())
    torch.testing.assert_close(passed.logits, net(images()))
    # The authors' map: features as they are, not thresholded.
    expected = torch.einsum("nchw,nkc->nkhw", net.act(net.conv(images())), net.fc.weight[CHOSEN])
    torch.testing.assert_close(find_method("cam").maps(passed, CHOSEN), expected, rtol=1e-4, atol=1e-4)


def test_weights_that_depend_on_the_image_are_no_weights() -> None:
    """Without a ReLU the maps that are left are divided by another number of places in every image."""
    found = find_classifier(Net(masked, relu=False).eval(), "net")
    assert "use gradcam" in (find_method("cam").unsupported_reason(found) or "")


@pytest.mark.parametrize("theta", [0, 0.05, 0.1, 0.3333, 0.95])
@pytest.mark.parametrize("size", [(2, 2), (7, 7), (14, 9)])
def test_the_threshold_is_measured(theta: float, size: tuple[int, int]) -> None:
    weights = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 6, *size, generator=torch.Generator().manual_seed(1))
    assert find_theta(lambda maps: pool_maps(maps, "thresholded", theta) @ weights, noise) == theta


def test_other_poolings_have_no_threshold() -> None:
    noise = torch.randn(1, 6, 7, 7, generator=torch.Generator().manual_seed(1))
    assert find_theta(lambda maps: maps.flatten(2).logsumexp(2), noise) is None
    assert find_theta(lambda maps: maps.flatten(2).std(2), noise) is None
    assert find_theta(lambda maps: 0 * maps.mean((2, 3)), noise) is None


EXACT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam:relu=false": lambda features, gradients: (gradients.mean((2, 3), keepdim=True) * features).sum(1),
    "hirescam": lambda features, gradients: (gradients * features).sum(1),
    "layercam": lambda features, gradients: (gradients.relu() * features).sum(1).relu(),
}


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_those_of_the_places_that_count(name: str) -> None:
    net = Net(ThresholdedAvgPool2d(0.5)).double().eval().requires_grad_(False)
    photos = images(side=96).double()
    passed = forward(find_gap(net, "net", side=96), photos)
    found = find_method(name).maps(passed, CHOSEN)
    for i, row in enumerate(CHOSEN.tolist()):
        for j, chosen in enumerate(row):
            features = net.act(net.conv(photos[i : i + 1]))
            counts = (features > 0.5 * features.amax((2, 3), keepdim=True)) | (features == 0).all(3, True).all(2, True)
            gradients = net.fc.weight[chosen][:, None, None] * counts / counts.sum((2, 3), keepdim=True)
            torch.testing.assert_close(found[i, j], EXACT[name](features, gradients)[0])
    if name == "hirescam":  # the score is all in the map
        bias = net.fc.bias[CHOSEN]
        torch.testing.assert_close(found.sum((2, 3)) + bias, net(photos).gather(1, CHOSEN))


def test_the_ablated_score_is_that_of_the_network() -> None:
    net = Net(ThresholdedAvgPool2d(0.5)).double().eval().requires_grad_(False)
    photos = images(side=96).double()
    passed = forward(find_gap(net, "net", side=96), photos)
    features, logits = passed.features, passed.logits.gather(1, CHOSEN)
    drops = []
    for channel in range(features.shape[1]):
        left = features.clone()
        left[:, channel] = 0
        drops.append(logits - net.fc(net.pool(left).flatten(1)).gather(1, CHOSEN))
    weights = torch.stack(drops, 2) / logits[:, :, None]
    expected = torch.einsum("nkc,nchw->nkhw", weights, features).relu()
    torch.testing.assert_close(find_method("ablationcam").maps(passed, CHOSEN), expected)


def test_the_threshold_is_a_setting_of_the_name() -> None:
    assert find_architecture("resnet18-tap").theta == 0.1
    assert find_architecture("vgg16-tap:theta=0.25").theta == 0.25
    for name, message in {
        "resnet18-tap:theta=1": "model resnet18-tap: theta is 1.0, which must be 0 or more and below 1",
        "resnet18-tap:teta=1": "model resnet18-tap: unknown setting 'teta=1'; it takes theta",
        "resnet18-gap:theta=0.1": "model resnet18-gap takes no settings; leave out 'theta=0.1'",
    }.items():
        with pytest.raises(InputError, match=f"^{message}$"):
            find_architecture(name)
    with pytest.raises(InputError, match="unknown setting 'backbone=alexnet'"):
        with_settings("x", find_architecture("resnet18-tap"), "theta=0.2,backbone=alexnet")


def test_the_network_of_the_paper() -> None:
    with torch.device("meta"):
        network = find_architecture("vgg16-tap:theta=0.25").build({}, None)
    assert network.pool.theta == 0.25


@pytest.mark.slow
def test_weights_of_the_backbone_and_the_name_of_the_threshold(tmp_path: Path) -> None:
    name = "squeezenet1_1-tap:theta=0.2"
    architecture: Any = find_architecture(name)
    network = architecture.build_for_training(3, from_scratch=False).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    model = load_model(name, tmp_path / "a.pth")
    assert isinstance(model.network, GapClassifier)
    assert (model.network.pooling, model.network.theta) == ("thresholded", 0.2)
    assert model.signature.startswith(f"{name}:")
    plain = load_model(name.replace(":theta=0.2", ""), tmp_path / "a.pth")
    assert plain.name == name.replace("0.2", "0.1")
    assert not torch.equal(plain.network(images(1)), model.network(images(1)))
    report = load_matching(architecture.build_for_training(3, from_scratch=False), name, tmp_path / "a.pth")
    assert report.missing == ()
