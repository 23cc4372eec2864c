"""Networks as people hand them in: wrapped, half precision, not yet run."""

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from wsol.errors import InputError


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel or ``torch.compile``."""
    while True:
        if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            return network


def check_network(network: nn.Module, name: str) -> None:
    """Check that a network can be evaluated.

    Args:
        network: The network, unwrapped.
        name: Name of the network in messages.

    Raises:
        InputError: It is in training mode, or its weights are not numbers that gradients can be computed with.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise InputError(f"{name} is a TorchScript module; give the network that was scripted")
    tensors = (*network.parameters(), *network.buffers())
    if any(isinstance(each, (UninitializedParameter, UninitializedBuffer)) for each in tensors):
        raise InputError(f"{name} has lazy layers without weights; run it on one image first")
    modules = list(network.modules())
    if any(type(module).__module__.startswith(_QUANTIZED) for module in modules) or any(
        each.is_quantized for each in tensors
    ):
        raise InputError(f"{name} is quantized; give the network from before quantization")
    training = next((path or "it" for path, module in network.named_modules() if module.training), None)
    if training is not None:
        raise InputError(f"{name} is in training mode ({training}); call eval() on it first")


_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized", "torchao")


def to_float32(network: nn.Module, name: str) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a network in float32, and a remark if it was in another precision.

    Args:
        network: The network; its tensors are converted in place.
        name: Name of the network in messages.

    Raises:
        InputError: Its weights are complex.
    """
    kinds = {each.dtype for each in network.parameters()} | {
        each.dtype for each in network.buffers() if each.is_floating_point()
    }
    if any(kind.is_complex for kind in kinds):
        raise InputError(f"{name} has complex weights; only real ones can be evaluated")
    other = sorted(str(kind).removeprefix("torch.") for kind in kinds if kind != torch.float32)
    if not other:
        return network, ()
    return network.float(), (f"{name} holds {' and '.join(other)} weights: they are evaluated in float32",)
