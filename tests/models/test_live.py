"""Tests of live networks: they are borrowed, and nothing about them has changed afterwards."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_net import TinyNet
from torch import nn

from wsol.errors import InputError
from wsol.models import Preprocessing
from wsol.models.checkpoint import network_sha256
from wsol.models.live import borrow, wrap_network


class Trained(nn.Module):
    """A network in the middle of training: normalized, with dropout, a frozen layer, a hook and gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(16, 7)
        self.features[0].requires_grad_(False)
        self.features[1].eval()  # as where the statistics are frozen

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.features(images).relu().mean((2, 3))))


@pytest.fixture
def trained() -> Trained:
    torch.manual_seed(0)
    network = Trained().to(memory_format=torch.channels_last)
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    return network


def describe(network: nn.Module) -> dict[str, Any]:
    """Return everything that an evaluation must leave as it is; identities as numbers."""
    parts = dict(network.named_modules())
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {
        "modes": {name: module.training for name, module in parts.items()},
        "hooks": {name: [id(hook) for hook in module._forward_hooks.values()] for name, module in parts.items()},
        "objects": {name: id(tensor) for name, tensor in tensors.items()},
        "memory": {name: tensor.data_ptr() for name, tensor in tensors.items()},
        "strides": {name: (tensor.stride(), tensor.dtype, tensor.device) for name, tensor in tensors.items()},
        "values": {name: tensor.detach().clone().tolist() for name, tensor in tensors.items()},
        "gradients": {
            name: (id(tensor.grad), tensor.grad.tolist()) if tensor.grad is not None else None
            for name, tensor in network.named_parameters()
        },
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "attributes": {name: sorted(vars(module)) for name, module in parts.items()},
        "random": torch.get_rng_state().tolist(),
    }


def convert(network: nn.Module) -> None:
    network.half()


def to_rows(network: nn.Module) -> None:
    network.to(memory_format=torch.contiguous_format)


def count_in_buffer(network: nn.Module) -> None:
    network.features[1].running_mean += 1
    network.features[1].num_batches_tracked += 1


def replace_tensors(network: nn.Module) -> None:
    network.fc.weight = nn.Parameter(network.fc.weight + 1)
    network.features[1].register_buffer("running_var", torch.zeros(8))


def draw_numbers(_: nn.Module) -> None:
    torch.rand(3)


def train_again(network: nn.Module) -> None:
    network.train().requires_grad_(True)
    network(torch.randn(4, 3, 32, 32)).sum().backward()


def do_nothing(_: nn.Module) -> None:
    pass


CHANGES = [do_nothing, convert, to_rows, count_in_buffer, replace_tensors, draw_numbers, train_again]


@pytest.mark.parametrize("fails", [False, True], ids=["finished", "failed"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_borrowed_network_is_given_back_as_it_was(
    trained: Trained, change: Callable[[nn.Module], None], fails: bool
) -> None:
    trained.fc.register_forward_hook(lambda *_: None)
    before = describe(trained)
    try:
        with borrow(trained):
            change(trained)
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert describe(trained) == before


def test_inside_it_is_in_evaluation_mode_without_gradients(trained: Trained) -> None:
    with torch.inference_mode(), borrow(trained):
        assert not any(module.training for module in trained.modules())
        assert not any(parameter.requires_grad for parameter in trained.parameters())
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    with torch.no_grad(), borrow(trained):
        assert torch.is_grad_enabled()


def test_a_pending_loss_has_the_same_gradients(trained: Trained) -> None:
    other = copy.deepcopy(trained)
    images = torch.randn(4, 3, 32, 32)
    losses = []
    for network in (trained, other):
        network.zero_grad()
        torch.manual_seed(3)  # of the dropout
        losses.append(network(images).square().sum())
    with borrow(trained):
        wrap_network(trained.to(memory_format=torch.contiguous_format))
    for loss in losses:
        loss.backward()
    for one, two in zip(trained.parameters(), other.parameters(), strict=True):
        assert (one.grad is None and two.grad is None) or torch.equal(one.grad, two.grad)


def test_methods_of_the_modules_are_not_called() -> None:
    """As those of a module that merges its weights in evaluation mode."""

    class Merging(TinyNet):
        def train(self, mode: bool = True) -> nn.Module:
            raise AssertionError

    network = Merging()
    with borrow(network):
        wrap_network(network)
    assert network.training
    network = NotTraceable()
    with borrow(network):
        assert wrap_network(network).network.layer == "last"
    assert network.training


class NotTraceable(TinyNet):
    """A network whose forward pass depends on its input."""

    def train(self, mode: bool = True) -> nn.Module:
        raise AssertionError

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images * 1.0 if bool((images > 0).any()) else images)


@pytest.mark.slow
def test_a_wrapper_of_several_devices_or_a_compiled_network_is_the_network_inside() -> None:
    network = TinyNet()
    for wrapped in (nn.DataParallel(network), torch.compile(network)):
        with borrow(wrapped):
            assert wrap_network(wrapped).name == "TinyNet"
        assert wrapped.training
        assert network.training


def test_the_description(trained: Trained) -> None:
    with borrow(trained):
        model = wrap_network(trained, Preprocessing(size=64), output=None)
    assert (model.name, model.weights, model.classes, model.side) == ("Trained", "live", 7, 64)
    assert model.notes == ()
    assert model.sha256 == network_sha256(trained)
    assert model.signature == f"Trained:{model.sha256[:8]}"
    with borrow(trained):
        named = wrap_network(trained, layer="features.0", side=32)
    assert named.layer == named.network.layer == "features.0"
    assert named.notes == ("no preprocessing given: it is ImageNet's mean and standard deviation",)


def test_the_hash_is_that_of_all_tensors(trained: Trained) -> None:
    """It covers parameters and buffers by name, whatever their place in memory."""
    before = network_sha256(trained)
    assert network_sha256(copy.deepcopy(trained).to(memory_format=torch.contiguous_format)) == before
    for name, tensor in trained.state_dict().items():
        changed = copy.deepcopy(trained)
        changed.state_dict()[name][(0,) * tensor.dim()] += 1
        assert network_sha256(changed) != before, name


def test_a_half_network_is_evaluated_in_float32_and_stays_half() -> None:
    network = TinyNet().half()
    with borrow(network):
        model = wrap_network(network)
        assert model.network(torch.zeros(1, 3, 224, 224)).dtype == torch.float32
        assert "TinyNet holds float16 weights: they are evaluated in float32" in model.notes
    assert {each.dtype for each in network.parameters()} == {torch.float16}


def test_what_cannot_be_borrowed() -> None:
    exported = torch.export.export(TinyNet().eval(), (torch.zeros(2, 3, 224, 224),)).module()
    with pytest.raises(InputError, match="is an exported graph of fixed mode; give the network that was exported"):
        borrow(exported).__enter__()
    with torch.device("meta"):
        empty = TinyNet()
    with borrow(empty), pytest.raises(InputError, match="TinyNet is on the meta device, without weights"):
        wrap_network(empty)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    with borrow(lazy), pytest.raises(InputError, match="Sequential has lazy layers without weights"):
        wrap_network(lazy)
    assert lazy.training
    with borrow(nn.Linear(3, 3)) as _, pytest.raises(InputError, match="Linear does not accept images of 224 x 224"):
        wrap_network(nn.Linear(3, 3).eval())
