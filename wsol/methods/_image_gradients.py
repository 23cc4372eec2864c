"""Gradients of the whole network, down to the image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

import torch
from torch import Tensor, nn

from wsol.methods._memory import max_batch_size
from wsol.methods.base import Forward
from wsol.models import Classifier


def image_gradients(
    forward: Forward,
    images: Tensor,
    classes: Tensor,
    run: Callable[[Classifier, Tensor], Tensor] = Classifier.__call__,
) -> Tensor:
    """Return the gradients of class scores with respect to images, ``(n, k, 3, H, W)``.

    Args:
        forward: Names the network and the budget.
        images: Preprocessed, ``(n, 3, H, W)``.
        classes: int64 ``(n, k)``.
        run: Gives class scores of a network and images.
    """
    parts = []
    size = max_batch_size(forward, gradients=True)
    for some, chosen in zip(torch.split(images, size), torch.split(classes, size), strict=True):
        with torch.inference_mode(False), torch.enable_grad():
            leaf = some.clone().requires_grad_()
            scores = run(forward.network, leaf).gather(1, chosen).sum(0).unbind()
        found = [torch.autograd.grad(score, leaf, retain_graph=True)[0] for score in scores]
        parts.append(torch.stack(found, 1))
    return torch.cat(parts)


@contextmanager
def record_outputs(layers: list[nn.Module]) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Collect what layers give in this thread, in the order in which they run, while the context lasts."""
    outputs: list[tuple[nn.Module, Tensor]] = []
    here = get_ident()

    def keep(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if get_ident() != here:
            return None
        outputs.append((layer, output))
        return output.clone()  # a layer that works in place would change what was kept

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
