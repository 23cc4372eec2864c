"""Queries, keys and values of a vision transformer, recorded in a forward pass."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from wsol.errors import InputError, first_line
from wsol.methods._attention import (
    attends_to_itself,
    attention_unsupported_reason,
    join_heads,
    project_heads,
)
from wsol.methods._forward import Forward
from wsol.methods._forward import forward as run_forward
from wsol.methods._memory import max_batch_size
from wsol.methods._sites import Site, find_projected, find_sites
from wsol.methods._tokens import Readout, find_readout
from wsol.models import Classifier, GapClassifier
from wsol.models.graph import attention_kind
from wsol.models.measure import make_noise


class Heads(NamedTuple):
    """Queries, keys and values of a layer, each ``(n, heads, tokens, d)``."""

    queries: Tensor
    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class AttentionLayer:
    """Results of one layer of attention.

    Attributes:
        name: Dotted name of the operation, as in ``named_modules``; calls inside a module add ``.matmul`` and the like.
        projected: Queries, keys and values as the linear layer projects them, before they are normalized, scaled or
            rotated by position embeddings. Where heads share keys and values, these have fewer heads.
        inputs: Queries, keys and values whose products the attention is made of.
        output: What the rest of the network reads, attention times values, ``(n, heads, tokens, d)``; next the heads
            are joined and projected.
    """

    name: str
    projected: Heads
    inputs: Heads
    output: Tensor


@dataclass(frozen=True)
class ProjectionPass:
    """A forward pass that recorded all layers in which all tokens attend to each other.

    Attributes:
        logits: Class scores, ``(n, classes)``.
        layers: The layers in order, at least one.
        readout: The tokens: ``readout.layout.places`` are the positions of the patches, row by row,
            ``readout.layout.others`` those of class tokens and registers, ``readout.read`` those that are classified.
    """

    logits: Tensor
    layers: list[AttentionLayer]
    readout: Readout

    def to_maps(self, heads: Tensor) -> Tensor:
        """Return the vectors of the patches, with the heads joined, ``(n, h, w, heads d)``.

        Args:
            heads: Queries, keys, values or output of a layer, ``(n, heads, tokens, d)``.
        """
        layout = self.readout.layout
        assert layout.places is not None  # tokens have positions
        patches = heads[:, :, layout.places.to(heads.device)].transpose(1, 2)
        return patches.reshape(len(heads), *layout.grid, -1)


def record_projections(forward: Forward) -> Iterator[ProjectionPass]:
    """Run the images again and record queries, keys and values, as many images at once as the memory budget allows.

    Args:
        forward: A forward pass with the network, the images and the memory budget.

    Yields:
        The recorded pass of each chunk of images.

    Raises:
        InputError: No layer lets all tokens attend to each other, or its queries, keys and values cannot be told apart.
    """
    network = forward.network
    readout = find_readout(network, (forward.images.shape[2], forward.images.shape[3]))
    assert readout is not None  # see projections_unsupported_reason
    for images in torch.split(forward.images, max_batch_size(forward, gradients=True)):
        settings = RecorderSettings([], len(images), readout.tokens)
        with torch.inference_mode(False), torch.no_grad():
            logits = network.run_interpreted(lambda part: ProjectionRecorder(part, settings), images)  # noqa: B023  # runs now
        if not settings.recorded:
            raise InputError("no layer lets all tokens attend to each other; use another method")
        yield ProjectionPass(logits, settings.recorded, readout)


def project_patches(forward: Forward, name: str) -> Tensor:
    """Return queries, keys or values of the patches in the last layer that lets all tokens attend to each other.

    Where this layer comes after the target layer, as it does by default if a class token is classified, only what
    follows the target layer is run again.

    Args:
        forward: A forward pass with the network, the images and the memory budget.
        name: ``queries``, ``keys`` or ``values``: as the linear layer projects them, the heads joined.

    Returns:
        ``(n, h, w, heads d)``.

    Raises:
        InputError: See ``record_projections``.
    """
    with torch.no_grad():
        passes = _record_head(forward)
        if passes is None:
            passes = record_projections(forward)
        parts = [each.to_maps(getattr(each.layers[-1].projected, name)) for each in passes]
    return torch.cat(parts)


def _record_head(forward: Forward) -> Iterable[ProjectionPass] | None:
    """Return what the layers after the target layer compute; None if no attention among all tokens is one of them."""
    network, images = forward.network, forward.images
    if isinstance(network, GapClassifier) or not isinstance(network.head, fx.GraphModule):
        return None
    readout = find_readout(network, (images.shape[2], images.shape[3]))
    assert readout is not None  # see projections_unsupported_reason
    layout, others, *extras = forward.extras
    settings = RecorderSettings([], len(images), readout.tokens)
    logits = ProjectionRecorder(network.head, settings).run(layout.to_output(forward.features, others), *extras)
    return [ProjectionPass(logits, settings.recorded, readout)] if settings.recorded else None


def projections_unsupported_reason(network: Classifier) -> str | None:
    """Return why queries, keys and values cannot be recorded, in one sentence; None if they can."""
    if network not in _REASONS:
        _REASONS[network] = attention_unsupported_reason(network) or _try_to_record(network)
    return _REASONS[network]


_REASONS: "WeakKeyDictionary[nn.Module, str | None]" = WeakKeyDictionary()


def _try_to_record(network: Classifier) -> str | None:
    images = make_noise(network, network.size)
    try:
        with torch.inference_mode(False), torch.no_grad():
            project_patches(run_forward(network, images), "keys")
    except InputError as error:
        return first_line(error)  # fx adds an explanation of its own
    return None


class RecorderSettings(NamedTuple):
    """Settings of a recorder.

    Attributes:
        recorded: The layers recorded so far.
        images: Number of images.
        tokens: Number of tokens.
        replace: Returns what the rest of the network reads in place of the output of a layer; None to leave the network
            as it is.
    """

    recorded: list[AttentionLayer]
    images: int
    tokens: int
    replace: Callable[[AttentionLayer], Tensor] | None = None


class ProjectionRecorder(fx.Interpreter):
    """Interpreter that records every attention among all tokens."""

    def __init__(self, part: nn.Module, settings: RecorderSettings) -> None:
        super().__init__(part)
        self.settings = settings
        sites = find_sites(part) if isinstance(part, fx.GraphModule) else []
        self.sites = {site.output: site for site in sites}
        self.kept = {node for site in sites for node in site.nodes}
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        if (site := self.sites.get(n)) is not None:
            return self._run_site(n, site)
        if attention_kind(n, self.module) == "module" and attends_to_itself(n):
            return self._run_multihead(n)
        result = super().run_node(n)
        if n in self.kept:
            self.results[n] = result
        return result

    def _run_site(self, n: fx.Node, site: Site) -> Any:
        paths = [[(node, self.results[node]) for node in path] for path in site.paths]
        for node in site.nodes:
            self.results.pop(node, None)
        inputs = [path[-1][1] for path in paths]
        if site.softmax is not None:  # queries times transposed keys
            inputs[1] = inputs[1].transpose(-2, -1)
        if not self._attends(inputs):
            return super().run_node(n)
        output = super().run_node(n)
        name = str(n.meta.get("layer", n.name))
        projected = [find_projected(name, path, given) for path, given in zip(paths, inputs, strict=True)]
        return self._record(AttentionLayer(name, Heads(*projected), Heads(*inputs), output))

    def _run_multihead(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        module = self.module.get_submodule(str(n.target))
        heads = Heads(*project_heads(module, str(n.target), *args, **kwargs))
        if not self._attends(heads):
            return super().run_node(n)
        output = functional.scaled_dot_product_attention(*heads)
        output = self._record(AttentionLayer(str(n.target), heads, heads, output))
        return join_heads(module, output), None

    def _attends(self, inputs: Any) -> bool:
        """Return whether the attention is one of all tokens to all tokens."""
        queries, keys = inputs[:2]
        if queries.dim() != 4 or len(queries) != self.settings.images:
            return False
        return bool(queries.shape[2] == keys.shape[2] == self.settings.tokens)

    def _record(self, layer: AttentionLayer) -> Tensor:
        self.settings.recorded.append(layer)
        if self.settings.replace is None:
            return layer.output
        return self.settings.replace(layer)
