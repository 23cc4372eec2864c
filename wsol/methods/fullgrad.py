"""FullGrad."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.methods._image_gradients import record_outputs, run_differentiable
from wsol.methods._memory import max_batch_size
from wsol.methods._target import Target, class_score
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("fullgrad")
@dataclass(frozen=True)
class FullGrad(Method):
    """Contributions of the image and of every bias to the class score, added up.

    Srinivas and Fleuret, "Full-Gradient Representation for Neural Network Visualization", NeurIPS 2019, eq. 6:
    ``psi(X * dy/dX) + sum_l sum_k psi(b_lk dy/dz_lk)`` over the layers l and channels k, where z is the output of a
    convolution or batch normalization and b its bias (for batch normalization the implicit one,
    ``beta - gamma mean / std``) and psi takes the magnitude, scales it to [0, 1] and resizes it to the image
    (bilinear). Each channel and color is scaled by itself, as in the formula and in the package grad-cam; the authors'
    code scales each layer as a whole. Biases of linear layers have no place in a map. Costs a forward pass and, for
    each class, a backward pass of the whole network.
    """

    needs = "image gradients"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        size = max_batch_size(forward, gradients=True)
        maps = []
        for images, chosen in zip(torch.split(forward.images, size), torch.split(classes, size), strict=True):
            sums = [
                torch.stack([_scale_and_sum(term, images.shape[2:]) for term in each]).sum(0)
                for each in compute_contributions(forward.network, images, chosen, forward.target)
            ]
            maps.append(torch.stack(sums, 1))
        return torch.cat(maps)


def compute_contributions(
    network: Classifier, images: Tensor, classes: Tensor, target: Target = class_score
) -> Iterator[list[Tensor]]:
    """Yield, for each of k classes, the contributions of the image, ``(n, 3, H, W)``, and of each layer's bias.

    Where all layers are linear, ReLU, convolution, normalization or pooling, they add up to the class score minus the
    contributions of the biases of linear layers (Srinivas and Fleuret, proposition 1).

    Args:
        network: A network in evaluation mode.
        images: Preprocessed, ``(n, 3, H, W)``.
        classes: int64 ``(n, k)``.
        target: The number that is explained.
    """
    layers = [module for module in network.modules() if _find_bias(module) is not None]
    with torch.inference_mode(False), torch.enable_grad(), record_outputs(layers) as records:
        leaf = images.clone().requires_grad_()
        scores = target(run_differentiable(network, leaf), classes).sum(0).unbind()
    outputs = [output for _, output in records]
    biases = [bias for layer, _ in records if (bias := _find_bias(layer)) is not None]
    for score in scores:
        image_gradient, *gradients = torch.autograd.grad(score, [leaf, *outputs], retain_graph=True)
        with torch.no_grad():
            yield [image_gradient * images, *(g * b[:, None, None] for g, b in zip(gradients, biases, strict=True))]


def _scale_and_sum(term: Tensor, size: torch.Size) -> Tensor:
    """Return the magnitudes of all channels, each scaled to [0, 1] and resized, added up, ``(n, H, W)``."""
    term = term.abs()
    low, high = term.amin((2, 3), keepdim=True), term.amax((2, 3), keepdim=True)
    span = high - low
    # Resizing is linear, so it may follow the sum.
    total = ((term - low) / span.masked_fill(span == 0, 1)).sum(1, keepdim=True)
    return functional.interpolate(total, size=size, mode="bilinear", align_corners=False)[:, 0]


def _find_bias(module: nn.Module) -> Tensor | None:
    if isinstance(module, nn.Conv2d):
        return module.bias
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
        gain = (module.running_var + module.eps).rsqrt() * (1 if module.weight is None else module.weight)
        return (0 if module.bias is None else module.bias) - module.running_mean * gain
    return None
