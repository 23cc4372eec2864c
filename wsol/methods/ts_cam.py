"""Token semantic maps coupled with attention, after TS-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from wsol.methods._attention import attention_unsupported_reason, record_attention
from wsol.methods._tokens import Readout, find_readout
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier
from wsol.models.graph import TracedNetwork, split_graph
from wsol.models.linear_head import randomize
from wsol.models.measure import make_noise


@METHODS.register("ts-cam")
@dataclass(frozen=True)
class TSCAM(Method):
    """Class scores of each patch times the attention of the class token.

    Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization", ICCV 2021,
    eq. 9 to 12: ``S_c * A``, where S is a score of class c for every patch token and A the class token's attention,
    averaged over heads and layers. TS-CAM trains a convolution on the tokens for S; here the network is not trained
    further, and S is its own classifier, applied to every patch token in place of the class token. Costs a second
    forward pass, and the classifier for each patch.
    """

    needs = "attention"
    takes_target = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, of any sign."""
        with torch.no_grad():
            maps = [
                attention.to_maps(torch.stack(attention.layers).mean((0, 2)))
                for attention, _ in record_attention(forward, classes)
            ]
            return _score_patches(forward, classes) * torch.cat(maps)[:, None]

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require tokens that attend to each other, and a classifier of one of them, or of their mean."""
        reason = attention_unsupported_reason(network)
        if reason is None and not _classifies_one_vector(network):
            reason = f"more than one token is classified after {network.layer}; use another method"
        return reason


def _score_patches(forward: Forward, classes: Tensor) -> Tensor:
    """Return the class scores of every patch, ``(n, k, h, w)``."""
    network, features = forward.network, forward.features
    readout = find_readout(network, (forward.images.shape[2], forward.images.shape[3]))
    assert readout is not None  # see unsupported_reason
    if readout.node is None:
        patches = features.flatten(2).transpose(1, 2)
        scores = network.head(patches)
    else:
        layout, others, *_ = forward.extras
        lower, upper = _split_at(network, readout.node)
        (tokens,) = lower(layout.to_output(features, others), *forward.extras[2:])
        patches = readout.layout.to_maps(tokens)[0].flatten(2).transpose(1, 2)
        scores = upper(_repeat(patches.flatten(0, 1), readout))
        scores = scores.reshape(*patches.shape[:2], -1)
    chosen: Tensor = scores.transpose(1, 2).gather(1, classes[:, :, None].expand(-1, -1, scores.shape[1]))
    return chosen.reshape(*classes.shape, *readout.layout.grid)


def _classifies_one_vector(network: Classifier) -> bool:
    """Return whether the class scores are those of one token, or of the mean of those that are read."""
    readout = find_readout(network, network.size)
    if readout is None or readout.node is None:
        return readout is not None
    lower, upper = _split_at(network, readout.node)
    inputs = [node for node in upper.graph.nodes if node.op == "placeholder"]
    if len(inputs) > 1:
        return False
    if len(readout.read) == 1:
        return True
    head = randomize(upper)
    if head is None:
        return False
    with torch.inference_mode(False), torch.no_grad():
        shapes = lower(*network.trunk(make_noise(network, network.size)))[0]
        tokens = torch.randn(shapes.shape, dtype=shapes.dtype, generator=torch.Generator().manual_seed(2))
        mean = tokens.movedim(readout.layout.channel_axis, 1)[..., list(readout.read)].mean(2)
        scores, of_mean = head(tokens), head(_repeat(mean, readout))
    return bool((scores - of_mean).abs().max() <= 1e-3 * scores.abs().max())


def _repeat(vectors: Tensor, readout: Readout) -> Tensor:
    """Return vectors ``(m, C)`` as all tokens of m images."""
    return vectors[:, :, None].expand(-1, -1, readout.tokens).movedim(1, readout.layout.channel_axis)


def _split_at(network: Classifier, node: fx.Node) -> tuple[nn.Module, fx.GraphModule]:
    """Return the part of the head up to a node, and the part behind it."""
    return split_graph(TracedNetwork(network.head, network.layer, node.graph, {}), node)
