"""SPG compared with the paper, pixel by pixel in loops: forward pass, masks, loss, and what is detached."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from naive_heads import convolve, cross_entropy, normalize, resize
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models import GapClassifier, find_architecture, find_classifier
from wsol.models.heads.acol import ACoLClassifiers, ACoLNetwork
from wsol.models.heads.spg import SPGHead, SPGNetwork
from wsol.runtime.distributed import ProcessGroup
from wsol.training.methods import find_train_method
from wsol.training.methods.spg import guided_loss, make_mask

CLASSES, SIDE = 4, 24
METHOD = "spg:b1=2,b2=4,channels=5,width=3"


class Base(nn.Module):
    """A network that pools, whose features are a sequence of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_layers = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(6, 7, 3, 1, 1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(7, 6, 3, 2, 1), nn.ReLU(inplace=True)),
        )


def make_network(method: str = METHOD) -> SPGNetwork:
    torch.manual_seed(1)
    head = SPGHead(**vars(find_train_method(method)))
    network = head.attach(Base(), "base", CLASSES, for_training=True)
    for each in (network.branches.b_last, network.branches.c_last):
        nn.init.normal_(each.weight)
    nn.init.normal_(network.fc.weight)
    return network.double().train()


def make_images() -> Tensor:
    return torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([2, 0, 3])


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))


def relu_of(maps: NDArray[np.float64], layer: nn.Conv2d) -> NDArray[np.float64]:
    return np.maximum(convolve(maps, layer), 0)


def run_naively(network: SPGNetwork, image: Tensor) -> tuple[NDArray[np.float64], ...]:
    """Maps of all classes, and the maps of B1, B2 and C, of one image."""
    layers, branches = network.features, network.branches
    before = [layers[:i](image[None])[0].detach().numpy().copy() for i in (2, 4, 6)]  # of what B1, B2 and A read
    hidden = relu_of(relu_of(before[2], network.convolutions[0]), network.convolutions[2])
    maps = np.einsum("kc,chw->khw", network.fc.weight.detach().numpy(), hidden)
    b1, b2 = (
        convolve(relu_of(relu_of(maps_before, own[0]), branches.shared[0]), branches.b_last)[0]
        for maps_before, own in zip(before, (branches.b1, branches.b2), strict=False)
    )
    return maps, b1, b2, convolve(relu_of(hidden, branches.c[0]), branches.c_last)[0]


def label_pixels(guide: NDArray[np.float64], high: float, low: float) -> NDArray[np.int64]:
    """1 for foreground, 0 for background, 255 for pixels that are ignored."""
    labels = np.full(guide.shape, 255)
    threshold = high if sum(value > high for value in guide.flat) >= 30 else 0.7 * guide.max()
    for pixel, value in np.ndenumerate(guide):
        if value > threshold:
            labels[pixel] = 1
        if value < low:
            labels[pixel] = 0
    return labels


def binary_cross_entropy(logits: Sequence[NDArray[np.float64]], labels: Sequence[NDArray[np.int64]]) -> float:
    losses = []
    for each, wanted in zip(logits, labels, strict=True):
        for pixel, value in np.ndenumerate(each):
            if wanted[pixel] != 255:
                p = sigmoid(value)
                losses.append(-math.log(p) if wanted[pixel] else -math.log(1 - p))
    return sum(losses) / len(losses)


def test_forward_and_loss() -> None:
    network, images = make_network(), make_images()
    logits, *maps = network(images, LABELS)
    entropies, resized, masks = [], ([], [], []), ([], [], [])
    for i, label in enumerate(LABELS.tolist()):
        of_classes, *naive = run_naively(network, images[i])
        scores = of_classes.mean((1, 2)) + network.fc.bias.detach().numpy()
        entropies.append(cross_entropy(scores, label))
        np.testing.assert_allclose(logits[i].detach(), scores, rtol=1e-10)
        for found, expected in zip(maps, (of_classes[label], *naive), strict=True):
            np.testing.assert_allclose(found[i, 0].detach(), expected, rtol=1e-9, atol=1e-12)
        attention, b1, b2, c = (resize(each, SIDE, SIDE) for each in (of_classes[label], *naive))
        masks[0].append(label_pixels(normalize(attention), 0.7, 0.01))
        masks[1].append(label_pixels(sigmoid(b2), 0.5, 0.05))
        masks[2].append(label_pixels((sigmoid(b1) + sigmoid(b2)) / 2, 0.7, 0.1))
        for collected, each in zip(resized, (b2, b1, c), strict=True):
            collected.append(each)
    expected = np.mean(entropies) + sum(map(binary_cross_entropy, resized, masks))
    assert all({0, 1, 255} & set(np.unique(each)) == set(np.unique(each)) for each in masks)
    assert {*np.unique(masks[0])} == {0, 1, 255}
    loss, scores = find_train_method(METHOD).compute_loss(network, images, LABELS, nn.CrossEntropyLoss())
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(scores, logits.float())
    torch.testing.assert_close(network.eval()(images), logits)


def test_masks_by_hand() -> None:
    guide = torch.zeros(3, 1, 6, 8)
    guide[0, 0, :4] = 0.8  # 32 pixels above 0.7
    guide[0, 0, 4] = 0.7  # not above
    guide[0, 0, 5, :4] = 0.1  # not below
    guide[1, 0, 0] = 0.4  # 8 pixels, none above 0.7: those above 0.28 take their place
    guide[1, 0, 1] = 0.28 + 1e-4
    guide[1, 0, 2] = 0.2
    guide[2] = 0.05  # the maximum is background
    foreground, counted = make_mask(guide, 0.7, 0.1)
    assert foreground[0, 0].int().tolist() == [[1] * 8] * 4 + [[0] * 8] * 2
    assert counted[0, 0].int().tolist() == [[1] * 8] * 4 + [[0] * 8] + [[0] * 4 + [1] * 4]
    assert foreground[1, 0].int().tolist() == [[1] * 8] * 2 + [[0] * 8] * 4
    assert counted[1, 0].int().tolist() == [[1] * 8] * 2 + [[0] * 8] + [[1] * 8] * 3
    assert not foreground[2].any()
    assert counted[2].all()

    for pixels in (29, 30):
        guide = torch.full((1, 1, 6, 8), 0.6)
        guide.view(-1)[:pixels] = 0.75
        assert make_mask(guide, 0.7, 0.1)[0].sum() == (48 if pixels < 30 else 30)  # 0.6 is above 0.7 of the maximum


def test_a_branch_without_any_pixel_adds_nothing() -> None:
    logits = torch.ones(2, 1, 4, 4, requires_grad=True)
    none = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    loss = guided_loss([logits, logits], [(none, none), (none, ~none)])
    assert loss.item() == pytest.approx(math.log(1 + math.e))  # the second has background alone
    loss.backward()
    assert logits.grad.isfinite().all()


def test_what_is_guided_reaches_the_features_and_guides_do_not() -> None:
    network, images = make_network(), make_images()
    inputs: dict[str, Tensor] = {}
    kept = {}

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        outputs = network(*given)
        kept.update(zip(("logits", "attention", "b1", "b2", "c"), outputs, strict=True))
        for each in kept.values():
            if each.requires_grad:
                each.retain_grad()
        return outputs

    network.features[1].register_forward_hook(lambda _m, _i, output: inputs.update(features=output))
    loss, _ = find_train_method(METHOD).compute_loss(run, images, LABELS, nn.CrossEntropyLoss())
    loss.backward()
    assert not kept["attention"].requires_grad
    # The gradient of each branch's logits is that of its own cross-entropy, with a constant mask.
    size, masks = (SIDE, SIDE), {}
    resized = {
        name: nn.functional.interpolate(each.detach().float(), size, mode="bilinear")
        for name, each in kept.items()
        if name != "logits"
    }
    low = resized["attention"].amin((2, 3), keepdim=True)
    high = resized["attention"].amax((2, 3), keepdim=True)
    masks["b2"] = make_mask((resized["attention"] - low) / (high - low), 0.7, 0.01)
    masks["b1"] = make_mask(resized["b2"].sigmoid(), 0.5, 0.05)
    masks["c"] = make_mask((resized["b1"].sigmoid() + resized["b2"].sigmoid()) / 2, 0.7, 0.1)
    for name, (foreground, counted) in masks.items():
        leaf = kept[name].detach().float().requires_grad_()
        pixels = nn.functional.interpolate(leaf, size, mode="bilinear")[counted]
        nn.functional.binary_cross_entropy_with_logits(pixels, foreground[counted].float()).backward()
        torch.testing.assert_close(kept[name].grad.float(), leaf.grad, rtol=1e-4, atol=1e-7)

    for name in ("b1", "b2", "c"):
        network.zero_grad()
        maps = dict(zip(("attention", "b1", "b2", "c"), network(images, LABELS)[1:], strict=True))
        maps[name].sum().backward()
        reached = [parameter.grad is not None for parameter in network.features.parameters()]
        assert reached == [i < {"b1": 2, "b2": 4, "c": 6}[name] for i in range(6)]  # not detached, from where they read


def test_two_processes_have_the_mean_over_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 1, 4, 4, generator=generator)
    foreground, counted = torch.rand(2, 5, 1, 4, 4, generator=generator) > 0.5
    whole = guided_loss([logits], [(foreground & counted, counted)])
    totals = torch.tensor([int(counted.sum()), 5])
    monkeypatch.setattr(ProcessGroup, "all_reduce_sum", lambda _self, _numbers: totals)
    parts = [slice(0, 3), slice(3, 5)]
    shared = [guided_loss([logits[i]], [((foreground & counted)[i], counted[i])]) for i in parts]
    torch.testing.assert_close((3 * shared[0] + 2 * shared[1]) / 5, whole)  # as the trainer weights them


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("vgg16-gap", [("24", 512), ("end", 512)]),
        ("vgg11_bn-gap", [("features.22", 512), ("end", 512)]),
        ("resnet18-gap", [("layer3.1", 256), ("layer4", 256)]),
        ("inception_v3-gap", [("Mixed_6a", 288), ("Mixed_6e", 768)]),
    ],
)
def test_layers_of_the_released_code(model: str, expected: list[tuple[str, int]]) -> None:
    network = find_architecture(f"{model}+spg:channels=4,width=4").build_for_training(5, from_scratch=False)
    branches = network.branches
    assert [*branches.layers] == [layer for layer, _ in expected]
    assert [branches.b1[0].in_channels, branches.b2[0].in_channels] == [width for _, width in expected]


def test_the_inputs_are_those_of_the_layers() -> None:
    network = find_architecture("resnet18-gap+spg:channels=4,width=4").build_for_training(5, from_scratch=False).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    body = network.features.body
    maps = body.maxpool(body.relu(body.bn1(body.conv1(images))))

    expected = {}
    for stage in ("layer1", "layer2", "layer3"):
        for number in ("0", "1"):
            block = body.get_submodule(f"{stage}.{number}")
            given = maps
            result = block.bn2(block.conv2(block.bn1(block.conv1(given)).relu()))
            if hasattr(block, "downsample"):
                given = block.downsample.get_submodule("1")(block.downsample.get_submodule("0")(given))
            maps = (result + given).relu()
            expected[f"{stage}.{number}"] = maps
    read = []
    network.branches.register_forward_pre_hook(lambda _module, inputs: read.extend(inputs))
    network(images, torch.tensor([0]))
    torch.testing.assert_close(read[0], expected["layer3.0"])
    torch.testing.assert_close(read[1], expected["layer3.1"])


@pytest.mark.slow
def test_what_is_stored_has_a_cam() -> None:
    architecture = find_architecture("resnet18-gap+spg:channels=4,width=4")
    trained = architecture.build_for_training(5, from_scratch=False).eval()
    state = architecture.export_state(trained)
    assert not [key for key in state if key.startswith("branches")]
    network = architecture.build(state, None).eval()
    network.load_state_dict(state)  # has all
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), trained(images))
    classifier = find_classifier(network, "net")
    assert isinstance(classifier, GapClassifier)
    assert classifier.features(images).shape[1] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "high_b2=0.2,low_b2=0.3",
            "training method spg: low_b2 is 0.3 and high_b2 is 0.2, which must be from 0 to 1, the first",
        ),
        ("high_c=1.2", "low_c is 0.1 and high_c is 1.2, which must be from 0 to 1"),
        ("low_b1=nan", "low_b1 is nan and high_b1 is 0.5, which must be from 0 to 1"),
        ("width=0", "width is 0, which must be 1 or more"),
        ("b1=", "b1 and b2 must be names of layers, end or auto"),
    ],
)
def test_wrong_settings(settings: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_train_method(f"spg:{settings}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "the layers that the branches of SPG read are not known; give two of its layers, or end"),
        ("b1=features.99,b2=end", "has no layer features.99 among its features, which a branch of SPG is to read"),
        ("b1=classifier.3,b2=end", "has no layer classifier.3 among its features"),
    ],
)
def test_layers_that_are_missing(settings: str, message: str) -> None:
    name = find_train_method(f"spg:{settings}" if settings else "spg").name_network("squeezenet1_1-gap")
    with pytest.raises(InputError, match=message):
        find_architecture(name).build_for_training(5, from_scratch=False)


def test_nothing_is_read_back_from_the_device() -> None:
    """On the device ``meta`` no value can be read."""
    images, labels = torch.zeros(2, 3, SIDE, SIDE, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
    for network, method in (
        (make_network(), METHOD),
        (ACoLNetwork(Base().feature_layers, ACoLClassifiers(6, CLASSES, 3, 0.7)), "acol:channels=3"),
    ):
        network.float().to("meta")
        loss, _ = find_train_method(method).compute_loss(network, images, labels, nn.CrossEntropyLoss())
        assert loss.is_meta
