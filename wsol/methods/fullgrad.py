"""FullGrad."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.methods._image_gradients import record_outputs
from wsol.methods._memory import max_batch_size
from wsol.methods.base import Forward, Method, register
from wsol.models import Classifier


@register("fullgrad")
@dataclass(frozen=True)
class FullGrad(Method):
    """Adds what the image and what every bias contributes to the class score.

    Srinivas and Fleuret, "Full-Gradient Representation for Neural Network Visualization", NeurIPS 2019, eq. 6:
    ``psi(X * dy/dX) + sum_l sum_k psi(b_lk dy/dz_lk)`` over the layers l and channels k, where z is what a convolution
    or batch normalisation gives and b its bias (of a batch normalisation the implicit one, ``beta - gamma mean / std``)
    and psi takes the magnitude, scales it to [0, 1] and resizes it to the image (bilinear). Each channel and colour is
    scaled by itself, as the formula has it and the package grad-cam does; the authors' own code scales each layer as a
    whole. Biases of linear layers have no place in a map. Costs a forward pass and, for each class, a backward pass of
    the whole network.
    """

    needs = "whole gradients"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        size = max_batch_size(forward, gradients=True)
        found = []
        for images, chosen in zip(torch.split(forward.images, size), torch.split(classes, size), strict=True):
            sums = [
                torch.stack([_scaled(term, images.shape[2:]) for term in each]).sum(0)
                for each in contributions(forward.network, images, chosen)
            ]
            found.append(torch.stack(sums, 1))
        return torch.cat(found)


def contributions(network: Classifier, images: Tensor, classes: Tensor) -> Iterator[list[Tensor]]:
    """Yield, for each of k classes, what the image contributes, ``(n, 3, H, W)``, and what each layer's bias does.

    Where all layers are linear or ReLU, convolution, normalisation or pooling, they add up to the class score, less
    what the biases of linear layers contribute (Srinivas and Fleuret, proposition 1).

    Args:
        network: In evaluation mode.
        images: Preprocessed, ``(n, 3, H, W)``.
        classes: int64 ``(n, k)``.
    """
    layers = [module for module in network.modules() if _bias(module) is not None]
    with torch.inference_mode(False), torch.enable_grad(), record_outputs(layers) as kept:
        leaf = images.clone().requires_grad_()
        scores = network(leaf).gather(1, classes).sum(0).unbind()
    outputs = [output for _, output in kept]
    biases = [bias for layer, _ in kept if (bias := _bias(layer)) is not None]
    for score in scores:
        down, *gradients = torch.autograd.grad(score, [leaf, *outputs], retain_graph=True)
        with torch.no_grad():
            yield [down * images, *(g * b[:, None, None] for g, b in zip(gradients, biases, strict=True))]


def _scaled(term: Tensor, size: torch.Size) -> Tensor:
    """Return the sum over channels of magnitudes, each scaled to [0, 1] and resized, ``(n, H, W)``."""
    term = term.abs()
    low, high = term.amin((2, 3), keepdim=True), term.amax((2, 3), keepdim=True)
    span = high - low
    # Resizing is linear, so that it may come after the sum.
    whole = ((term - low) / span.masked_fill(span == 0, 1)).sum(1, keepdim=True)
    return functional.interpolate(whole, size=size, mode="bilinear", align_corners=False)[:, 0]


def _bias(module: nn.Module) -> Tensor | None:
    if isinstance(module, nn.Conv2d):
        return module.bias
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
        gain = (module.running_var + module.eps).rsqrt() * (1 if module.weight is None else module.weight)
        return (0 if module.bias is None else module.bias) - module.running_mean * gain
    return None
