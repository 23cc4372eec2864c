"""Token semantic maps coupled with attention, after TS-CAM."""

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from wsol.cams._attention import attend, no_attention
from wsol.cams.base import Forward, Method, register
from wsol.models import Classifier
from wsol.models._trace import Traced, cut
from wsol.models.layout import find_layout


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
        """Returns maps of one value a patch, any sign."""
        with torch.no_grad():
            attention = [
                attended.patches(torch.stack(attended.layers).mean((0, 2))) for attended, _ in attend(forward, classes)
            ]
            return _semantic(forward, classes) * torch.cat(attention)[:, None]

    def obstacle(self, network: Classifier) -> str | None:
        """Wants tokens that attend to each other, of which the classifier takes one, or their mean."""
        lacking = no_attention(network)
        if lacking is None and _reading(network) is None:
            lacking = f"behind {network.layer} no single token, or mean of tokens, is classified; take another method"
        return lacking


def _semantic(forward: Forward, classes: Tensor) -> Tensor:
    """Returns the class scores of every patch, ``(n, k, h, w)``."""
    network, reading = forward.network, _reading(forward.network)
    assert reading is not None  # all others have an obstacle
    above = Traced(network.above, network.layer, network.above.graph, {})  # type: ignore[arg-type]
    to_tokens, classify = cut(above, reading.all_input_nodes[0])[0], cut(above, reading)[1]
    output = network.layout.output(forward.features, forward.past[0])
    tokens = to_tokens(output, *forward.past[1:])[0]
    layout = find_layout(tuple(tokens.shape))
    assert layout is not None  # it is what is read, after the target layer
    maps, _ = layout.maps(tokens)
    scores = classify(maps.flatten(2).transpose(1, 2).flatten(0, 1)).reshape(len(maps), -1, forward.logits.shape[1])
    chosen: Tensor = scores.transpose(1, 2).gather(1, classes[:, :, None].expand(-1, -1, scores.shape[1]))
    return chosen.reshape(*classes.shape, *maps.shape[2:])


def _reading(network: Classifier) -> fx.Node | None:
    """Returns the node that makes one vector of the tokens; None if what follows takes more than that vector."""
    if not isinstance(network.above, fx.GraphModule):
        return None
    nodes = list(network.above.graph.nodes)
    reading = [node for node in nodes if _takes_one(node)]
    if not reading:
        return None
    later = set(nodes[nodes.index(reading[-1]) + 1 :])
    alone = all(not later & set(node.users) for node in nodes[: nodes.index(reading[-1])])
    return reading[-1] if alone else None


def _takes_one(node: fx.Node) -> bool:
    if node.target is operator.getitem and isinstance(node.args[1], tuple):
        return len(node.args[1]) > 1 and isinstance(node.args[1][1], int)
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return node.target in ("mean", torch.mean) and dims in (1, [1], (1,))
