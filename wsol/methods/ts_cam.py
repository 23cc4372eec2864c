"""Token semantic maps coupled with attention, after TS-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from wsol.methods._attention import attention_unsupported_reason, find_token_readout, record_attention
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier, GapClassifier
from wsol.models.classifier import find_layout
from wsol.models.graph import TracedNetwork, split_graph


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
        if reason is None and not isinstance(network, GapClassifier) and _find_sole_readout(network) is None:
            reason = f"more than one token is classified after {network.layer}; use another method"
        return reason


def _score_patches(forward: Forward, classes: Tensor) -> Tensor:
    """Return the class scores of every patch, ``(n, k, h, w)``."""
    maps, classify = _split_at_readout(forward)
    scores = classify(maps.flatten(2).transpose(1, 2).flatten(0, 1)).reshape(len(maps), -1, forward.logits.shape[1])
    chosen: Tensor = scores.transpose(1, 2).gather(1, classes[:, :, None].expand(-1, -1, scores.shape[1]))
    return chosen.reshape(*classes.shape, *maps.shape[2:])


def _split_at_readout(forward: Forward) -> tuple[Tensor, nn.Module]:
    """Return the last patches as maps ``(n, C, h, w)``, and a module from vectors ``(m, C)`` to class scores."""
    network, node = forward.network, _find_sole_readout(forward.network)
    if isinstance(network, GapClassifier) or node is None:
        return forward.features, network.head
    head = TracedNetwork(network.head, network.layer, network.head.graph, {})  # type: ignore[arg-type]
    output = network.layout.to_output(forward.features, forward.extras[0])
    tokens = split_graph(head, node.all_input_nodes[0])[0](output, *forward.extras[1:])[0]
    layout = find_layout(tuple(tokens.shape))
    assert layout is not None  # it was found for the image that shapes were measured with
    return layout.to_maps(tokens)[0], split_graph(head, node)[1]


def _find_sole_readout(network: Classifier) -> fx.Node | None:
    """Return the node that reduces the tokens to one vector, if nothing else is classified."""
    node = find_token_readout(network)
    if node is None or find_layout(node.all_input_nodes[0].meta.get("shape", ())) is None:
        return None
    nodes = list(node.graph.nodes)
    later = set(nodes[nodes.index(node) + 1 :])
    return None if any(later & set(each.users) for each in nodes[: nodes.index(node)]) else node
