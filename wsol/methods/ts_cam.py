"""Token semantic maps coupled with attention, after TS-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from wsol.methods._attention import attend, find_token_readout, why_no_attention
from wsol.methods.base import Forward, Method, register
from wsol.models import Classifier, GapClassifier
from wsol.models.classifier import find_layout
from wsol.models.graph import TracedNetwork, split_graph


@register("ts-cam")
@dataclass(frozen=True)
class TSCAM(Method):
    """What the classifier says of each patch, times what the class token attends to.

    Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization", ICCV 2021,
    eq. 9 to 12: ``S_c * A``, where S is a score of class c for every patch token and A the class token's attention,
    averaged over heads and layers. TS-CAM trains a convolution on the tokens for S; here the network is as it comes,
    and S is its own classifier, applied to every patch token in the place of the class token. Costs a second forward
    pass, and the classifier for each patch.
    """

    needs = "attention"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of one value a patch, any sign."""
        with torch.no_grad():
            attention = [
                attended.patches(torch.stack(attended.layers).mean((0, 2))) for attended, _ in attend(forward, classes)
            ]
            return _semantic(forward, classes) * torch.cat(attention)[:, None]

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Wants tokens that attend to each other, of which the classifier takes one, or their mean."""
        lacking = why_no_attention(network)
        if lacking is None and not isinstance(network, GapClassifier) and _alone(network) is None:
            lacking = f"behind {network.layer} not one token, or the tokens' mean, is classified; take another method"
        return lacking


def _semantic(forward: Forward, classes: Tensor) -> Tensor:
    """Return the class scores of every patch, ``(n, k, h, w)``."""
    maps, classify = _tokens(forward)
    scores = classify(maps.flatten(2).transpose(1, 2).flatten(0, 1)).reshape(len(maps), -1, forward.logits.shape[1])
    chosen: Tensor = scores.transpose(1, 2).gather(1, classes[:, :, None].expand(-1, -1, scores.shape[1]))
    return chosen.reshape(*classes.shape, *maps.shape[2:])


def _tokens(forward: Forward) -> tuple[Tensor, nn.Module]:
    """Return the last patches as maps ``(n, C, h, w)``, and what makes class scores of vectors ``(m, C)``."""
    network, node = forward.network, _alone(forward.network)
    if isinstance(network, GapClassifier) or node is None:
        return forward.features, network.head
    above = TracedNetwork(network.head, network.layer, network.head.graph, {})  # type: ignore[arg-type]
    output = network.layout.output(forward.features, forward.extras[0])
    tokens = split_graph(above, node.all_input_nodes[0])[0](output, *forward.extras[1:])[0]
    layout = find_layout(tuple(tokens.shape))
    assert layout is not None  # as for the image that shapes were measured with
    return layout.maps(tokens)[0], split_graph(above, node)[1]


def _alone(network: Classifier) -> fx.Node | None:
    """Return the node that makes one vector of the tokens, if nothing else is classified."""
    node = find_token_readout(network)
    if node is None or find_layout(node.all_input_nodes[0].meta.get("shape", ())) is None:
        return None
    nodes = list(node.graph.nodes)
    later = set(nodes[nodes.index(node) + 1 :])
    return None if any(later & set(each.users) for each in nodes[: nodes.index(node)]) else node
