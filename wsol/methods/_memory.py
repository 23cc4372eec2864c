"""The number of images that fit into a memory budget at once."""

from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from wsol.methods._forward import Forward


def max_batch_size(forward: Forward, gradients: bool) -> int:
    """Return the number of images that may run at once, at least one.

    Args:
        forward: A forward pass with the network and the memory budget.
        gradients: Whether the outputs of all layers are kept for gradients, or only the input of the next layer.
    """
    costs = _BYTES_PER_IMAGE.setdefault(forward.network, {})
    key = (*forward.images.shape[1:], forward.images.dtype)
    if key not in costs:
        costs[key] = _measure_image(forward)
    size = max(1, int(forward.memory // costs[key][gradients]))
    return size if gradients or forward.images.is_cuda else min(size, _CPU_BATCH)


_CPU_BATCH = 8  # larger batches are slower on a CPU, because they exceed its cache


# By network and image size: bytes for one image without and with gradients.
_BYTES_PER_IMAGE: "WeakKeyDictionary[nn.Module, dict[Any, tuple[int, int]]]" = WeakKeyDictionary()


def _measure_image(forward: Forward) -> tuple[int, int]:
    """Run one image and add up inputs and outputs of each layer; calls between layers are as large as the layers."""
    sizes = [forward.images[0].nbytes]
    thread = get_ident()

    def record(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if get_ident() == thread:  # other threads run the network too
            sizes.append(sum(each.nbytes for each in (*inputs, output) if isinstance(each, Tensor)))

    leaves = [module for module in forward.network.modules() if not next(module.children(), None)]
    hooks = [module.register_forward_hook(record) for module in leaves]
    try:
        with torch.no_grad():
            forward.network(forward.images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    # Twice a layer's input and output, for its scratch space and a shortcut; and the masked images.
    return 2 * max(sizes) + 2 * sizes[0], sum(sizes)
