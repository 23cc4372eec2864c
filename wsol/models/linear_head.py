"""Proof that class scores are linear in globally pooled feature maps, for CAM.

How a network spells its pooling does not matter: the layers behind the target layer are run on random feature maps,
and must give what the pooled maps give, times the weights.
"""

import contextlib
import copy
import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsol.models.classifier import Classifier
from wsol.models.pooling import THETA, Pooling, pool_maps
from wsol.models.theta import find_theta


@dataclass(frozen=True)
class LinearHead:
    """Layers behind a target layer whose scores are linear in the globally pooled maps.

    Attributes:
        pooling: ``average``, ``max`` or ``thresholded``.
        weights: ``(classes, C)``; None where the scores are the pooled maps themselves.
        bias: ``(classes,)``, the scores of maps of zeros.
        module: The module that has these weights, if one has.
        is_computed: Whether the weights are no tensor of the network, but the product of several layers.
        theta: Share of the maximum that counts in thresholded average pooling.
        is_positive: Whether the scores are linear for maps without negative values alone.
    """

    pooling: Pooling
    weights: Tensor | None
    bias: Tensor
    module: nn.Module | None
    is_computed: bool = False
    theta: float = THETA
    is_positive: bool = False

    def to_linear(self) -> nn.Linear | None:
        """Return the linear layer after the pooling, which shares its tensors; None if nothing follows the pooling."""
        if isinstance(self.module, nn.Linear):
            return self.module
        if self.weights is None:
            return None
        shared = getattr(self.module, "bias", None)
        bias = shared if shared is not None else self.bias if self.bias.any() else None
        linear = nn.Linear(self.weights.shape[1], self.weights.shape[0], bias=bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weights.detach())
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach())
        return linear


def find_linear_head(classifier: Classifier, images: Tensor) -> LinearHead | None:
    """Find the weights of a head; None if its scores are not linear in the globally pooled maps.

    Args:
        classifier: A network, split at its target layer. Where its head has no weights (on the meta device), or weights
            of zero, the proof is made with random ones in their place.
        images: Some images that it accepts.
    """
    try:
        # fx prints its own explanation of an error.
        with torch.inference_mode(False), torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            maps, extras = classifier.forward_features(images)
            proof = _prove(classifier, maps, extras)
            if proof is None:
                return None
            linear = _identify(classifier, maps, extras, proof)
            return linear if maps.is_meta or _holds_for(classifier, linear, -images.flip(3)) else None
    except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError):  # layers that refuse random maps
        return None


@dataclass(frozen=True)
class _Proof:
    """Scores that are linear in pooled maps.

    Attributes:
        pooling: ``average``, ``max`` or ``thresholded``.
        head: Classifier whose head was run.
        pooled: Random pooled maps ``(n, C)``.
        scores: Their scores ``(n, classes)``, less those of maps of zeros.
        base: The scores of maps of zeros.
        theta: Share of the maximum that counts in thresholded average pooling.
        is_positive: Whether the maps had no negative values.
    """

    pooling: Pooling
    head: Classifier
    pooled: Tensor
    scores: Tensor
    base: Tensor
    theta: float = THETA
    is_positive: bool = False

    def is_product(self, expected: Tensor) -> bool:
        """Return whether the scores are these, up to rounding."""
        return _agree(self.scores, expected, self.scores, self.base)


def _prove(classifier: Classifier, maps: Tensor, extras: tuple[Any, ...]) -> _Proof | None:
    head, noise = classifier, _random_like(maps)
    if maps.is_meta or not (_run(head, noise, extras) - _run(head, torch.zeros_like(noise), extras)).any():
        if (filled := randomize(classifier.head)) is None:
            return None
        head = copy.copy(classifier)
        head._modules = {**classifier._modules, "head": filled}
        extras = tuple(_random_like(each) if isinstance(each, Tensor) else each for each in extras)
    scores, base = _run(head, noise, extras), _run(head, torch.zeros_like(noise), extras)
    if not scores.isfinite().all() or torch.equal(scores, base):
        return None

    def spread(vectors: Tensor) -> Tensor:
        return _run(head, vectors[:, :, None, None].expand_as(noise), extras) - base

    def prove(noise: Tensor, scores: Tensor, pooling: Pooling, theta: float, sign: float) -> _Proof | None:
        pooled = pool_maps(noise, pooling, theta)
        # f(-2 a) and f(a + b) show every ReLU and norm.
        pairs = (
            (scores, spread(pooled)),
            (sign * scores, spread(2 * sign * pooled) / 2),
            (scores + spread(pooled.flip(1)), spread(pooled + pooled.flip(1))),
        )
        if all(_agree(one, other, scores, base) for one, other in pairs):
            return _Proof(pooling, head, pooled, scores, base, theta, sign > 0)
        return None

    candidates: list[tuple[Pooling, float]] = [("average", THETA), ("max", THETA)]
    for pooling, theta in candidates:
        if (proof := prove(noise, scores - base, pooling, theta, -1)) is not None:
            return proof
        if pooling == "max" and (found := find_theta(lambda each: _run(head, each, extras) - base, noise)) is not None:
            candidates.append(("thresholded", found))
    # Other code for thresholded pooling differs for negative maxima, which do not occur behind a ReLU.
    if len(candidates) < 3 or maps.is_meta or not bool((maps >= 0).all()):
        return None
    noise = noise.abs()
    return prove(noise, _run(head, noise, extras) - base, *candidates[-1], 1)


def _identify(classifier: Classifier, maps: Tensor, extras: tuple[Any, ...], proof: _Proof) -> LinearHead:
    """Return the head with the network's own weights if it has them as such, else with computed ones."""
    classes, channels = proof.scores.shape[1], proof.pooled.shape[1]
    base = proof.base if proof.head is not classifier else _run(classifier, torch.zeros_like(maps), extras)
    bias = base[0]

    def linear_head(
        weights: Tensor | None, bias: Tensor, module: nn.Module | None, is_computed: bool = False
    ) -> LinearHead:
        return LinearHead(proof.pooling, weights, bias, module, is_computed, proof.theta, proof.is_positive)

    if classes == channels and not proof.base.any() and proof.is_product(proof.pooled):
        return linear_head(None, bias, None)
    pairs = zip(_list_weights(classifier.head), _list_weights(proof.head.head), strict=True)
    for (module, weights), (_, tried) in pairs:
        if tried.shape == (classes, channels) and proof.is_product(proof.pooled @ tried.T):
            return linear_head(weights, bias, module)
        if tried.shape == (channels, classes) and proof.is_product(proof.pooled @ tried):
            return linear_head(weights.T, bias, None)
    if maps.is_meta:
        return linear_head(maps.new_empty(classes, channels), bias, None, True)
    # One channel at a time: the scores of maps that are 1 there and 0 elsewhere.
    unit = torch.eye(channels, dtype=maps.dtype, device=maps.device)[:, :, None, None]
    rows = [_run(classifier, each.expand_as(maps), extras)[0] - bias for each in unit]
    return linear_head(torch.stack(rows, 1), bias, None, True)


def _holds_for(classifier: Classifier, linear: LinearHead, images: Tensor) -> bool:
    """Return whether computed weights hold for other images, whose further inputs of the head may scale the maps."""
    if not linear.is_computed or linear.weights is None:
        return True
    maps, extras = classifier.forward_features(images)
    scores, base = _run(classifier, maps, extras), _run(classifier, torch.zeros_like(maps), extras)
    pooled = pool_maps(maps, linear.pooling, linear.theta)
    return _agree(scores - base, pooled @ linear.weights.T, scores - base, base)


def _run(classifier: Classifier, maps: Tensor, extras: tuple[Any, ...]) -> Tensor:
    return classifier.forward_head(maps, extras)


_TOLERANCE = 1e-4  # of the largest score


def _agree(one: Tensor, other: Tensor, scores: Tensor, base: Tensor) -> bool:
    """Return whether scores are equal up to rounding, which is that of the scores and of what they were less."""
    bound = _TOLERANCE * scores.abs().max() + 1e-6 * base.abs().max()
    return bool(((one - other).abs() <= bound).all())


def _list_weights(head: nn.Module) -> list[tuple[nn.Module, Tensor]]:
    """Return the matrices of a head and their modules; a 1 x 1 convolution has a matrix too."""
    tensors = [(module, tensor) for module in head.modules() for tensor in module.parameters(recurse=False)]
    flat = [(module, each.flatten(1) if each.shape[2:] == (1, 1) else each) for module, each in tensors]
    return [(module, each) for module, each in flat if each.dim() == 2]


def _random_like(tensor: Tensor) -> Tensor:
    """Return random values; those of maps have a mean of their own in each channel."""
    device = torch.device("cpu") if tensor.is_meta else tensor.device
    if not tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(tensor.shape, generator=generator, device="cpu")
    if tensor.dim() == 4:
        values += 2 * torch.randn(*tensor.shape[:2], 1, 1, generator=generator, device="cpu")
    return values.to(device, tensor.dtype)


_MAX_WEIGHTS = 32_000_000  # no linear head is larger; the dense layers of VGG are


def randomize(head: nn.Module) -> nn.Module | None:
    """Return a copy of a head with random weights, for a proof about its structure; None if it is too large."""
    if sum(each.numel() for each in head.parameters()) > _MAX_WEIGHTS:
        return None
    head = copy.deepcopy(head)
    empty = any(each.is_meta for each in (*head.parameters(), *head.buffers()))
    if empty:
        head = head.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)  # of a CPU, and not the user's
    with torch.no_grad():
        for tensor in (*head.parameters(), *head.buffers()):
            if tensor.is_floating_point():
                values = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                is_vector = tensor.dim() < 2
                values = (
                    values.uniform_(0.5, 1.5, generator=generator) if is_vector else values.normal_(generator=generator)
                )
                tensor.copy_(values)
            elif empty:
                tensor.zero_()
    return head
