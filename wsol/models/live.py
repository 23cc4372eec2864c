"""Live networks: any ``nn.Module`` of a running program, borrowed for an evaluation and given back as it was."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from wsol.errors import InputError
from wsol.models.base import Model, Preprocessing
from wsol.models.checkpoint import network_sha256
from wsol.models.preprocessing import read_preprocessing
from wsol.models.target_layer import SIDE, find_classifier
from wsol.models.unwrap import check_network, to_float32, unwrap

LIVE = "live"
"""Name of the weights of a live network, which are in no file."""


@contextmanager
def borrow(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode without gradients, and restore it on exit, whatever happens inside.

    On exit the following are as before: mode of every module, ``requires_grad``, ``grad``, number format and memory
    format of every parameter, all buffers, and torch's random numbers. No module's own ``train`` or ``eval`` is called.
    Inside, autograd works, even where the caller has turned it off.

    Args:
        network: The network, wrapped or not; it stays on its device.

    Raises:
        InputError: It is an exported graph, whose mode cannot be changed.
    """
    network = unwrap(network)
    if "eval" in vars(network):  # torch.export replaces the method
        raise InputError(f"{_name(network)} is an exported graph of fixed mode; give the network that was exported")
    before = _State(network)
    devices = {each.device.index for each in network.parameters() if each.is_cuda}
    try:
        before.set_evaluation()
        with torch.random.fork_rng(sorted(devices)), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        before.restore()


def wrap_network(
    network: nn.Module,
    preprocessing: object = None,
    layer: str | None = None,
    side: int | None = None,
    output: str | None = None,
) -> Model:
    """Describe a borrowed network as a model.

    Its name is that of its class, its SHA-256 that of the names and values of all tensors in its state dict, in order.

    Args:
        network: The network, inside ``borrow``; the model shares its tensors.
        preprocessing: As for ``read_preprocessing``; None for timm's, where the network has it, or else ImageNet's mean
            and standard deviation, which a note says.
        layer: Dotted name of the target layer, or several, separated by commas; None to find it.
        side: Side of the square images that the network is to take; None for that of the preprocessing, or 224.
        output: Name or index of the output that holds the class scores, if the network returns several.

    Raises:
        InputError: The network cannot be evaluated, or the preprocessing cannot be read.
    """
    network = unwrap(network)
    name = _name(network)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        raise InputError(f"{name} is on the meta device, without weights; load them first")
    check_network(network, name)
    found, notes = _find_preprocessing(network, preprocessing)
    sha256 = network_sha256(network)
    network, cast_notes = to_float32(network, name)
    side = side or found.size or SIDE
    classifier = find_classifier(network, name, layer, side, output)
    return Model(
        name,
        classifier,
        found,
        LIVE,
        sha256,
        0 if vars(network).get("num_classes") == 0 else classifier.classes,
        notes=(*notes, *cast_notes, *classifier.notes),
        layer=layer and classifier.layer,
        side=side,
        output=output,
        library=type(network).__module__.partition(".")[0],
    )


def _name(network: nn.Module) -> str:
    return type(network).__name__


def _find_preprocessing(network: nn.Module, given: object) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing that was given, or the network's own, and remarks."""
    if given is not None:
        return read_preprocessing(given), ()
    config = vars(network).get("pretrained_cfg")  # of timm's networks
    if isinstance(config, Mapping) and {"mean", "std"} <= config.keys():
        return read_preprocessing(config), ("no preprocessing given: it is that of the network's pretrained_cfg",)
    return Preprocessing(), ("no preprocessing given: it is ImageNet's mean and standard deviation",)


class _State:
    """Everything of a network that an evaluation changes.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._modules = [
            (each, each.training, dict(each._parameters), dict(each._buffers)) for each in network.modules()
        ]
        self._parameters = [
            (each, each.requires_grad, each.grad, each.data)
            for each in network.parameters()
            if not isinstance(each, UninitializedParameter)
        ]
        self._buffers = [
            (each, each.clone())
            for each in network.buffers()
            if not (isinstance(each, UninitializedBuffer) or each.is_meta)
        ]

    def set_evaluation(self) -> None:
        """Set evaluation mode and turn gradients off; methods of the modules that do more than that are not called."""
        for module, *_ in self._modules:
            module.training = False
        for parameter, *_ in self._parameters:
            parameter.grad = None  # a conversion of the parameter would convert it too
            parameter.requires_grad_(False)

    def restore(self) -> None:
        """Restore all of it."""
        for module, training, parameters, buffers in self._modules:
            module.training = training
            _put_back(module._parameters, parameters)
            _put_back(module._buffers, buffers)
        for parameter, requires_grad, grad, data in self._parameters:
            if parameter.data_ptr() != data.data_ptr() or parameter.stride() != data.stride():
                parameter.data = data
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        for buffer, values in self._buffers:
            if not torch.equal(buffer, values):
                with torch.no_grad():
                    buffer.copy_(values)


def _put_back(current: dict[str, Any], before: Mapping[str, Tensor | None]) -> None:
    """Make a module's tensors those of before, if any is another object."""
    if any(current.get(name) is not tensor for name, tensor in before.items()) or len(current) != len(before):
        current.clear()
        current.update(before)
