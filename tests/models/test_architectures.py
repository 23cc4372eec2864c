"""Networks of the literature, compared with their papers."""

from functools import cache
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor, nn

from wsol.models import GapClassifier, find_architecture, find_classifier, load_matching


@cache
def built(name: str, classes: int = 5, side: int | None = None) -> Any:
    torch.manual_seed(0)
    return find_architecture(name).build_for_training(classes, side).eval().requires_grad_(False)


def noise(side: int = 224) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def convolutions(net: nn.Module) -> list[nn.Conv2d]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


def sides(net: nn.Module, images: Tensor, *kinds: type[nn.Module]) -> list[int]:
    """Sides of what the layers of some kinds give, in their order; a layer that is used twice counts twice."""
    found: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: found.append(output.shape[-1]))
        for module in net.modules()
        if isinstance(module, kinds)
    ]
    net(images)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("name", "side", "channels", "size"),
    [
        ("nin", None, 5, 6),  # one map a class
        ("alexnet-star-gap", None, 512, 13),
        ("inception_v3-gap", None, 1024, 14),
        ("inception_v3-gap", 14, 1024, 14),
        ("inception_v3-gap", 28, 1024, 28),
        ("resnet50-gap", None, 2048, 7),
        ("resnet50-gap", 14, 2048, 14),
        ("resnet50-gap", 28, 2048, 28),
        ("resnet50", None, 2048, 7),
        ("resnet50", 14, 2048, 14),
        ("resnet50", 28, 2048, 28),
    ],
)
@pytest.mark.sample(3)
def test_map_sizes(name: str, side: int | None, channels: int, size: int) -> None:
    with torch.device("meta"):
        found = find_classifier(find_architecture(name).build_for_training(5, side).eval(), name)
        assert isinstance(found, GapClassifier)
        assert found.pooling == "average"
        assert found.features(torch.zeros(1, 3, 224, 224)).shape == (1, channels, size, size)


@pytest.mark.parametrize(
    ("name", "side"),
    [("nin", None), ("alexnet-star-gap", None), ("inception_v3-gap", 14), ("resnet50-gap", 14), ("resnet50", None)],
)
@pytest.mark.sample(2)
def test_class_maps_average_to_the_scores(name: str, side: int | None) -> None:
    net = built(name, side=side)
    found = find_classifier(net, name)
    features, scores = found.features(noise(128)), net(noise(128))
    # Zhou et al., section 2: the score is the mean of the class activation map, and the bias of the class.
    if found.linear is None:
        maps, bias = features, torch.zeros(5)
    else:
        maps, bias = torch.einsum("kc,nchw->nkhw", found.linear.weight, features), found.linear.bias
    torch.testing.assert_close(maps.mean((2, 3)) + bias, scores, rtol=1e-4, atol=1e-5)
    assert scores.shape == (1, 5)
    assert maps.std() > 0


def test_nin_has_the_layers_of_the_authors_model() -> None:
    # Lin et al.: mlpconv layers, each a large convolution and two of 1 x 1; sizes of the released ImageNet model.
    net = built("nin", 1000)
    large = {0: (3, 96, 11, 4, 0), 3: (96, 256, 5, 1, 2), 6: (256, 384, 3, 1, 1), 9: (384, 1024, 3, 1, 1)}
    layers = convolutions(net)
    assert len(layers) == 12
    for i, layer in enumerate(layers):
        given, width, kernel, stride, padding = large.get(i, (layers[i - 1].out_channels, 0, 1, 1, 0))
        if i not in large:
            width = 1000 if i == 11 else 1024 if i == 10 else given
        assert (layer.in_channels, layer.out_channels) == (given, width)
        assert (layer.kernel_size, layer.stride) == ((kernel, kernel), (stride, stride))
        assert layer.padding == (padding, padding)
        assert layer.bias is not None
    assert sum(isinstance(module, nn.ReLU) for module in net.modules()) == 12
    # No linear layer: the released file has 29 MB, which are 7.6 million numbers of 4 bytes.
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(7.6e6, rel=0.01)


@pytest.mark.parametrize(("side", "expected"), [(224, [54, 27, 13, 6]), (227, [55, 27, 13, 6])])
def test_nin_sizes(side: int, expected: list[int]) -> None:
    # (224 - 11) / 4 + 1 = 54.25, cut to 54; poolings of 3, stride 2, rounded up as Caffe does: 27, 13, 6.
    # The authors' crops are of 227 (Caffe's of 224 for this model): 55, 27, 13, 6.
    net = built("nin")
    found = []
    for layer in (layer for layer in convolutions(net) if layer.kernel_size != (1, 1)):
        layer.register_forward_hook(lambda _, __, output: found.append(output.shape[-1]))
    net(noise(side))
    for layer in convolutions(net):
        layer._forward_hooks.clear()
    assert found == expected


def test_nin_reads_its_number_of_classes_from_the_weights() -> None:
    state = built("nin", 7).state_dict()
    again = find_architecture("nin").build(state, None)
    again.load_state_dict(state)
    torch.testing.assert_close(again.eval()(noise()), built("nin", 7)(noise()))


def test_nin_is_positive() -> None:
    # A ReLU stands behind the last convolution too, in the authors' model: class maps cannot be negative.
    maps = find_classifier(built("nin"), "nin").features(noise())
    assert maps.min() == 0 < maps.max()


def test_alexnet_star_is_alexnet_and_two_convolutions() -> None:
    # Zhou et al., section 3.1: after conv5 there follow two of 3 x 3 with 512 units, and no pooling before the last.
    net, plain = built("alexnet-star-gap"), torchvision.models.alexnet(weights=None)
    layers = convolutions(net)
    shapes = [tuple(layer.weight.shape) for layer in layers]
    assert shapes[:5] == [tuple(layer.weight.shape) for layer in convolutions(plain)]
    assert shapes[5:] == [(512, 256, 3, 3), (512, 512, 3, 3)]
    assert [layer.padding for layer in layers[5:]] == [(1, 1), (1, 1)]
    assert sum(isinstance(module, nn.ReLU) for module in net.modules()) == 7
    assert sum(isinstance(module, nn.MaxPool2d) for module in net.modules()) == 2
    assert [tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Linear)] == [(5, 512)]
    # 224: (224 + 4 - 11) / 4 + 1 = 55, pooled to 27, to 13.
    assert sides(net, noise(), nn.Conv2d) == [55, 27, 13, 13, 13, 13, 13]
    features = {key: value for key, value in plain.state_dict().items() if key.startswith("features.")}
    missing, unknown = net.load_state_dict(features, strict=False)
    assert not unknown
    assert {key.split(".")[0] for key in missing} == {"added", "fc"}


def inception() -> Any:
    return torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False).eval()


def up_to_6e(net: nn.Module, side: int, images: Tensor) -> Tensor:
    """Inception v3 up to Mixed_6e with padding written out, on the weights of torchvision's."""
    conv = nn.functional.conv2d

    def unit(name: str, maps: Tensor, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
        part = net.get_submodule(name)
        made = conv(maps, part.conv.weight, None, stride, padding)
        norm = part.bn
        made = (made - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        return (made * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()

    pool = nn.functional.max_pool2d
    x = unit("Conv2d_2a_3x3", unit("Conv2d_1a_3x3", images, 2, 1), 1, 1)
    x = pool(unit("Conv2d_2b_3x3", x, 1, 1), 3, 2, 1)
    x = pool(unit("Conv2d_4a_3x3", unit("Conv2d_3b_1x1", x), 1, 1), 3, 2, 1)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = net.get_submodule(name)(x)
    stride = 1 if side == 28 else 2
    double = unit("Mixed_6a.branch3x3dbl_2", unit("Mixed_6a.branch3x3dbl_1", x), 1, 1)
    double = unit("Mixed_6a.branch3x3dbl_3", double, stride, 1)
    x = torch.cat([unit("Mixed_6a.branch3x3", x, stride, 1), double, pool(x, 3, stride, 1)], 1)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = net.get_submodule(name)(x)
    return x


@pytest.mark.slow
@pytest.mark.parametrize("side", [14, 28])
def test_padded_inception_takes_torchvisions_weights(side: int) -> None:
    torch.manual_seed(1)
    plain = inception().requires_grad_(False)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training: not the identity
            module.running_mean.uniform_(-0.1, 0.1)
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.1, 0.1)
    net = (
        find_architecture("inception_v3-gap")
        .build_for_training(5, side, from_scratch=False)
        .eval()
        .requires_grad_(False)
    )
    own = {key.removeprefix("backbone.body."): key for key in net.state_dict() if key.startswith("backbone.body.")}
    theirs = {key: v for key, v in plain.state_dict().items() if not key.startswith(("Mixed_7", "fc.", "AuxLogits"))}
    assert own.keys() == theirs.keys()
    missing, unknown = net.load_state_dict({own[key]: value for key, value in theirs.items()}, strict=False)
    assert not unknown
    assert {key.split(".")[0] for key in missing} == {"added", "fc"}
    with torch.no_grad():
        maps = net.backbone(noise(112))
        assert maps.shape == (1, 768, side // 2, side // 2)
        torch.testing.assert_close(maps, up_to_6e(plain, side, noise(112)), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_padded_inception_changes_nothing_but_padding() -> None:
    changed = {"Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3", "Mixed_6a.branch3x3", "Mixed_6a.branch3x3dbl_3"}
    plain = dict(inception().named_modules())
    body = built("inception_v3-gap", side=14).get_submodule("backbone.body")
    seen = set()
    for name, layer in body.named_modules():
        if isinstance(layer, nn.Conv2d):
            other = plain[name]
            assert (layer.kernel_size, layer.stride, layer.dilation) == (
                other.kernel_size,
                other.stride,
                other.dilation,
            )
            if layer.padding != other.padding:
                assert (other.padding, layer.padding) == ((0, 0), (1, 1))
                seen.add(name.removesuffix(".conv"))
    assert seen == changed
    added = built("inception_v3-gap", side=14).added[0]
    assert (added.in_channels, added.out_channels, added.kernel_size, added.padding) == (768, 1024, (3, 3), (1, 1))


@pytest.mark.parametrize("side", [14, 28])
@pytest.mark.parametrize("name", ["resnet50", "resnet50-gap"])
@pytest.mark.slow
def test_resnet50_keeps_its_layers_when_maps_grow(name: str, side: int) -> None:
    with torch.device("meta"):
        plain = torchvision.models.resnet50(weights=None, num_classes=5)
        net = find_architecture(name).build_for_training(5, side)
    shapes = {key.removeprefix("backbone.body."): value.shape for key, value in net.state_dict().items()}
    assert shapes == {key: value.shape for key, value in plain.state_dict().items()}
    # Two convolutions of a stage halve the maps, on the two sides of its first block. The last stages' no longer do.
    strided = {
        key.removeprefix("backbone.body.") for key, m in net.named_modules() if getattr(m, "stride", 1) == (2, 2)
    }
    kept = ["layer2", "layer3"][: 2 if side == 14 else 1]
    expected = {f"{stage}.0.{layer}" for stage in kept for layer in ("conv2", "downsample.0")}
    assert {key for key in strided if key.startswith("layer")} == expected
    assert all(layer.dilation == (1, 1) for layer in convolutions(net))


@pytest.mark.slow
def test_resnet50_with_larger_maps_is_resnet50_without_the_last_stride() -> None:
    torch.manual_seed(1)
    plain = torchvision.models.resnet50(weights=None, num_classes=5).eval().requires_grad_(False)
    state = {(k if k.startswith("fc.") else f"backbone.body.{k}"): v for k, v in plain.state_dict().items()}
    block = plain.layer4[0]
    block.conv2.stride = block.downsample[0].stride = (1, 1)
    for name, given in (("resnet50", plain.state_dict()), ("resnet50-gap", state)):
        net = find_architecture(name).build_for_training(5, 14).eval().requires_grad_(False)
        net.load_state_dict(given, strict=True)
        torch.testing.assert_close(net(noise(96)), plain(noise(96)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_backbone_to_start_from(tmp_path: Any) -> None:
    torch.manual_seed(2)
    donor = torchvision.models.alexnet(weights=None)
    torch.save(donor.state_dict(), tmp_path / "alexnet.pth")
    net = find_architecture("alexnet-star-gap").build_for_training(5, from_scratch=False)
    assert {key.split(".")[0] for key in load_matching(net, "alexnet-star-gap", tmp_path / "alexnet.pth").missing} == {
        "added",
        "fc",
    }
    assert torch.equal(net.features[10].weight, donor.features[10].weight)
