"""Attention-based dropout, compared with loops over places, in networks of modules and of graphs."""

import copy
import math

import pytest
import torch
import torchvision.models
from torch import Tensor, fx, nn

from wsol.errors import InputError
from wsol.models import find_architecture
from wsol.models._feature_extractor import FeatureExtractor
from wsol.models.layer_outputs import find_layer
from wsol.training.methods import find_train_method
from wsol.training.methods.adl import weight_places
from wsol.training.network import check_step


def weight_by_loops(maps: Tensor, threshold: float, drops: bool) -> tuple[Tensor, Tensor]:
    """Return the maps after the layer, and the gradient of their sum weighted by ``slopes(maps)``."""
    result, gradient, slope = torch.empty_like(maps), torch.empty_like(maps), slopes(maps)
    n, channels, height, width = maps.shape
    for i in range(n):
        attention = [
            [sum(float(maps[i, c, y, x]) for c in range(channels)) / channels for x in range(width)]
            for y in range(height)
        ]
        highest = max(max(row) for row in attention)
        for y in range(height):
            for x in range(width):
                sigmoid = 1 / (1 + math.exp(-attention[y][x]))
                weight = float(attention[y][x] < threshold * highest) if drops else sigmoid
                result[i, :, y, x] = weight * maps[i, :, y, x]
                gradient[i, :, y, x] = weight * slope[i, :, y, x]
                if not drops:  # the gradient of the sigmoid of the mean
                    through = float((slope[i, :, y, x] * maps[i, :, y, x]).sum()) * sigmoid * (1 - sigmoid)
                    gradient[i, :, y, x] += through / channels
    return result, gradient


def is_inserted(node: fx.Node) -> bool:
    return str(node.target).startswith("output_of_")


def slopes(maps: Tensor) -> Tensor:
    return torch.randn(maps.shape, generator=torch.Generator().manual_seed(2), dtype=maps.dtype)


def make_maps(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).relu()


@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_maps_and_gradient(threshold: float, drops: bool) -> None:
    maps = make_maps(3, 4, 5, 5).requires_grad_()
    found = weight_places(maps, threshold, drops)
    expected, gradient = weight_by_loops(maps.detach(), threshold, drops)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad((found * slopes(maps)).sum(), maps)[0], gradient)
    assert not drops or 0 < float((found == 0).all(1).double().mean()) < 1


def test_a_drop_mask_by_hand() -> None:
    maps = torch.tensor([[[[4.0, 1.0], [3.0, 3.6]], [[0.0, 1.0], [0.0, 0.0]]]])  # attention 2, 1, 1.5 and 1.8
    assert weight_places(maps, 0.9, True).tolist() == [[[[0, 1], [3, 0]], [[0, 1], [0, 0]]]]


def test_the_attention_of_low_precision_is_float32() -> None:
    maps = make_maps(2, 64, 6, 6).bfloat16()
    for drops in (True, False):
        found = weight_places(maps, 0.98, drops)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found == 0, weight_places(maps.float(), 0.98, drops) == 0)


def test_one_draw_per_layer_and_step_and_nothing_in_evaluation() -> None:
    def make(draws: list[bool] | None) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()).double()
        if draws is None:
            find_train_method("adl:rate=0.4,layers=1+3").prepare(net.eval(), "any", 8)
        return net

    net, plain = make(None), make([])
    assert list(net.state_dict()) == list(plain.state_dict())
    images = make_maps(3, 3, 8, 8)
    assert torch.equal(net.eval()(images), plain(images))
    torch.manual_seed(3)
    draws = (torch.rand(20, 2) < 0.4).tolist()
    assert {tuple(pair) for pair in draws} == {(True, True), (True, False), (False, True), (False, False)}
    torch.manual_seed(3)
    net.train()
    for first, second in draws:
        maps = weight_by_loops(plain[1](plain[0](images)).detach(), 0.9, first)[0]
        expected = weight_by_loops(plain[3](plain[2](maps)).detach(), 0.9, second)[0]
        torch.testing.assert_close(net(images), expected)


def test_blocks_inside_a_graph_are_those_of_the_modules() -> None:
    torch.manual_seed(0)
    modules = torchvision.models.resnet18(num_classes=3).double()
    graph = FeatureExtractor(copy.deepcopy(modules), "resnet18")
    keys, adl = list(graph.state_dict()), find_train_method("adl")
    adl.prepare(graph.eval(), "resnet18-gap", 64)
    assert list(graph.state_dict()) == keys
    images = make_maps(3, 3, 64, 64)

    def compute(train: bool) -> Tensor:
        net = modules.train(train)
        torch.manual_seed(4)
        maps = net.layer2(net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images))))))
        for block in (*net.layer3, *net.layer4):
            maps = block(maps)
            if train and block in (net.layer3[0], net.layer4[0], net.layer4[1]):
                maps = weight_places(maps, 0.9, float(torch.rand(())) < 0.75)
        return maps

    assert torch.equal(compute(train=False), graph(images))
    for copied in (graph.train(), copy.deepcopy(graph)):
        torch.manual_seed(4)
        assert torch.equal(compute(train=True), copied(images))

    # Networks whose blocks are modules get hooks.
    expected, seen = compute(train=True), []
    adl.prepare(modules, "resnet18", 64)
    modules.layer4.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    torch.manual_seed(4)
    modules(images)
    assert torch.equal(seen[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "map_size", "expected"),
    [  # with batch normalization, each convolution of VGG has three layers
        ("vgg16-gap", None, ["features.23", "features.32", "features.42"]),
        ("vgg16-gap", 28, ["features.23", "features.32", "features.42"]),
        ("vgg16", None, ["features.16", "features.22", "features.29"]),
        ("vgg11-gap", 28, ["features.10", "features.14", "features.19"]),
        ("resnet50-gap", 28, ["layer3.0.relu_2", "layer4.0.relu_2", "layer4.2.relu_2"]),
        ("inception_v3-gap", None, ["Mixed_5d.cat", "Mixed_6e.cat", "added"]),
        ("inception_v3-wsolevaluation", None, ["Mixed_5d", "Mixed_6e", "SPG_A3_2b"]),
        ("vgg16-wsolevaluation", 28, ["features.16", "features.22", "features.29"]),
        ("resnet50", 14, ["layer3.0", "layer4.0", "layer4.2"]),
    ],
)
def test_layers_of_the_paper(model: str, map_size: int | None, expected: list[str]) -> None:
    with torch.device("meta"):  # without computing
        network = find_architecture(model).build_for_training(3, map_size)
    find_train_method("adl").prepare(network.eval(), model, 224)
    found = [path for path, module in network.named_modules() if module._forward_hooks]
    body = getattr(getattr(network, "backbone", None), "body", None)
    if body is not None:
        sources = {
            f"backbone.body.{n.target}": n.args[0].meta["layer"] for n in body.train_graph.nodes if is_inserted(n)
        }
        found = [sources.get(path, path) for path in found]
        assert not any(map(is_inserted, body.eval_graph.nodes))
    assert found == expected


def test_layers_by_the_end_of_their_name() -> None:
    net = nn.ModuleDict({"a": nn.Sequential(nn.Conv2d(3, 3, 1)), "b": nn.Sequential(nn.Conv2d(3, 3, 1))})
    assert find_layer(net, "a.0", "net") == "a.0"
    assert find_layer(nn.Sequential(net), "b.0", "net") == "0.b.0"
    with pytest.raises(InputError, match=r"^net has several layers 0: a\.0, b\.0; give the whole name of one$"):
        find_layer(net, "0", "net")
    with pytest.raises(
        InputError, match=r"^net has no layer 'c'; it has a, b, and layers inside them are named with a dot$"
    ):
        find_layer(net, "c", "net")
    with pytest.raises(InputError, match=r"^net has no layer 'b\.9\.x'; inside b are b\.0$"):
        find_layer(nn.Sequential(net), "b.9.x", "net")


def test_networks_without_the_layers_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Flatten())
    with pytest.raises(
        InputError, match=r"^adl knows the layers of VGG, ResNet and Inception v3 alone, and net is none "
    ):
        find_train_method("adl").prepare(net, "net", 8)
    with pytest.raises(InputError, match=r"^1 of net is a batch normalization; name the layer behind or around it$"):
        find_train_method("adl:layers=1").prepare(net, "net", 8)
    with pytest.raises(InputError, match=r"adl: threshold is 1\.1, which must be from 0 to 1"):
        find_train_method("adl:threshold=1.1")
    find_train_method("adl:layers=2").prepare(net, "net", 8)
    with pytest.raises(InputError, match=r"^adl: the output of the layer 2 is 2 x 192, and not square feature maps"):
        check_step(net, "net", 8, 3, 2)  # without a word on the size of the images

    graph = fx.symbolic_trace(nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())))
    with pytest.raises(
        InputError, match=r"^net has a graph that does not say where 0 is called in training; name anoth"
    ):
        find_train_method("adl:layers=0").prepare(graph, "net", 8)
    find_train_method("adl:rate=1,threshold=0,layers=0.1").prepare(graph, "net", 8)
    assert not graph.train()(torch.rand(2, 3, 8, 8)).any()
