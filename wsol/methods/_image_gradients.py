"""Gradients of the whole network, down to the image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

import torch
from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.methods._forward import Forward
from wsol.methods._memory import max_batch_size
from wsol.models import Classifier


def compute_image_gradients(
    forward: Forward,
    images: Tensor,
    classes: Tensor,
    run: Callable[[Classifier, Tensor], Tensor] = Classifier.__call__,
) -> Tensor:
    """Return the gradients of the target with respect to images, ``(n, k, 3, H, W)``.

    Args:
        forward: A forward pass with the network and the memory budget.
        images: Preprocessed images, ``(n, 3, H, W)``.
        classes: int64 ``(n, k)``.
        run: Function from a network and images to class scores.
    """
    parts = []
    size = max_batch_size(forward, gradients=True)
    for batch, chosen in zip(torch.split(images, size), torch.split(classes, size), strict=True):
        with torch.inference_mode(False), torch.enable_grad():
            leaf = batch.clone().requires_grad_()
            scores = forward.target(run_differentiable(forward.network, leaf, run), chosen).sum(0).unbind()
        last = len(scores) - 1  # whose backward pass frees the graph as it goes, so that its memory is used again
        gradients = [torch.autograd.grad(s, leaf, retain_graph=i < last)[0] for i, s in enumerate(scores)]
        parts.append(torch.stack(gradients, 1))
    return torch.cat(parts)


def run_differentiable(
    network: Classifier, images: Tensor, run: Callable[[Classifier, Tensor], Tensor] = Classifier.__call__
) -> Tensor:
    """Return the class scores of images that require gradients.

    Raises:
        InputError: An operation of the network has no gradient.
    """
    try:
        return run(network, images)
    except RuntimeError as error:
        if "automatic differentiation" not in str(error):
            raise
        raise InputError(
            f"the network has no gradients down to the image ({first_line(error)}); use another method"
        ) from error


@contextmanager
def record_outputs(layers: list[nn.Module]) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Collect the outputs of layers in this thread, in the order in which they run, while the context is active."""
    outputs: list[tuple[nn.Module, Tensor]] = []
    thread = get_ident()

    def record(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if get_ident() != thread:
            return None
        outputs.append((layer, output))
        return output.clone()  # the next layer may overwrite its input in place

    hooks = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
