"""Class scores of every patch: a network's own classifier, applied to each of its last tokens."""

import torch
from torch import Tensor, fx, nn

from wsol.methods._forward import Forward
from wsol.methods._tokens import Readout, find_readout
from wsol.models import Classifier
from wsol.models.graph import TracedNetwork, split_graph
from wsol.models.linear_head import randomize
from wsol.models.measure import make_noise


def patch_scores_unsupported_reason(network: Classifier) -> str | None:
    """Return why the patches of a network have no class scores, in one sentence; None if they have.

    They have if it classifies one token, or the mean of those that are read.
    """
    if _classifies_one_vector(network):
        return None
    return f"more than one token is classified after {network.layer}; use another method"


def find_token_node(network: Classifier, readout: Readout) -> fx.Node:
    """Return the node, of trunk or head, that outputs the tokens that are classified."""
    if readout.node is not None:
        return readout.node
    assert isinstance(network.trunk, fx.GraphModule)  # see find_readout
    output: fx.Node = next(iter(reversed(network.trunk.graph.nodes)))
    return output.all_input_nodes[0]


def score_patches(network: Classifier, readout: Readout, patches: Tensor) -> Tensor:
    """Return the class scores of every patch, row by row, ``(n, h w, classes)``.

    Args:
        network: A network that classifies one vector.
        readout: Its last tokens.
        patches: The patches among these tokens, ``(n, C, h, w)``.
    """
    vectors = patches.flatten(2).transpose(1, 2)
    if readout.node is None:
        scores: Tensor = network.head(vectors)
        return scores
    _, upper = split_head(network, readout.node)
    scores = upper(_repeat(vectors.flatten(0, 1), readout))
    return scores.reshape(*vectors.shape[:2], -1)


def choose_maps(forward: Forward, classes: Tensor, scores: Tensor, readout: Readout) -> Tensor:
    """Return what is explained, as a function of the class scores of every patch.

    Args:
        forward: The forward pass, with the function.
        classes: int64 ``(n, k)``.
        scores: Class scores of every patch, ``(n, h w, classes)``.
        readout: The tokens.

    Returns:
        Maps ``(n, k, h, w)``.
    """
    repeated = classes[:, None].expand(-1, scores.shape[1], -1)
    chosen = forward.target(scores.flatten(0, 1), repeated.flatten(0, 1)).reshape(repeated.shape)
    return chosen.transpose(1, 2).reshape(*classes.shape, *readout.layout.grid)


def split_head(network: Classifier, node: fx.Node) -> tuple[nn.Module, fx.GraphModule]:
    """Return the part of the head up to a node, and the part behind it."""
    return split_graph(TracedNetwork(network.head, network.layer, node.graph, {}), node)


def _classifies_one_vector(network: Classifier) -> bool:
    """Return whether the class scores are those of one token, or of the mean of those that are read."""
    readout = find_readout(network, network.size)
    if readout is None or readout.node is None:
        return readout is not None
    lower, upper = split_head(network, readout.node)
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
        generator = torch.Generator().manual_seed(2)
        tokens = torch.randn(shapes.shape, dtype=shapes.dtype, generator=generator).to(shapes.device)
        mean = tokens.movedim(readout.layout.channel_axis, 1)[..., list(readout.read)].mean(2)
        scores, of_mean = head(tokens), head(_repeat(mean, readout))
    return bool((scores - of_mean).abs().max() <= 1e-3 * scores.abs().max())


def _repeat(vectors: Tensor, readout: Readout) -> Tensor:
    """Return vectors ``(m, C)`` as all tokens of m images."""
    return vectors[:, :, None].expand(-1, -1, readout.tokens).movedim(1, readout.layout.channel_axis)
