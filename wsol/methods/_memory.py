"""How many images fit into a memory budget at once."""

from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from wsol.methods.base import Forward


def max_batch_size(forward: Forward, gradients: bool) -> int:
    """Return how many images may run at once, at least one.

    Args:
        forward: Names the network and the budget.
        gradients: Whether everything that a layer gives is kept for gradients, or only what the next layer takes.
    """
    known = _KNOWN.setdefault(forward.network, {})
    key = (*forward.images.shape[1:], forward.images.dtype)
    if key not in known:
        known[key] = _measured(forward)
    fitting = max(1, int(forward.memory // known[key][gradients]))
    return fitting if gradients or forward.images.is_cuda else min(fitting, _CPU_BATCH)


_CPU_BATCH = 8  # a CPU is slower at more, which leave its cache


# By network and size of image: bytes for one image without and with gradients.
_KNOWN: "WeakKeyDictionary[nn.Module, dict[Any, tuple[int, int]]]" = WeakKeyDictionary()


def _measured(forward: Forward) -> tuple[int, int]:
    """Run one image, adding up what each layer takes and gives; calls between layers are as large as the layers."""
    taken = [forward.images[0].nbytes]
    here = get_ident()

    def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if get_ident() == here:  # other threads run the network too
            taken.append(sum(each.nbytes for each in (*inputs, output) if isinstance(each, Tensor)))

    leaves = [module for module in forward.network.modules() if not next(module.children(), None)]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        with torch.no_grad():
            forward.network(forward.images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    # Beside a layer's input and output, its scratch space and a shortcut are alive: as much again. And masked images.
    return 2 * max(taken) + 2 * taken[0], sum(taken)
