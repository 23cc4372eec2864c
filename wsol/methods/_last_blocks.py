"""A forward pass in which the attention of the last blocks of a vision transformer outputs something else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError
from wsol.methods._attention import join_heads
from wsol.methods._blocks import Block, find_blocks, find_sources
from wsol.methods._forward import Forward
from wsol.methods._memory import max_batch_size
from wsol.methods._patch_scores import find_token_node
from wsol.methods._projections import AttentionLayer, ProjectionRecorder, RecorderSettings
from wsol.methods._tokens import Readout, find_readout
from wsol.models import Classifier
from wsol.models.graph import attention_kind

Attend = Callable[[AttentionLayer], Tensor]  # returns (n, heads, tokens, d) in place of the output of a layer


@dataclass(frozen=True)
class LastBlocksPass:
    """A forward pass whose last blocks were changed.

    Attributes:
        logits: Class scores, ``(n, classes)``.
        layers: What the attention of these blocks computed before it was replaced, in order.
        patches: The patches among the last tokens, ``(n, C, h, w)``.
        readout: The last tokens.
    """

    logits: Tensor
    layers: list[AttentionLayer]
    patches: Tensor
    readout: Readout


def run_last_blocks(
    forward: Forward, classes: Tensor, count: int, attend: Attend, *, gradients: bool = False, second_path: bool = False
) -> Iterator[tuple[LastBlocksPass, Tensor]]:
    """Run the last blocks again, with another output of their attention.

    Where they come after the target layer, as the last one does by default if a class token is classified, only what
    follows the target layer is run; otherwise the images, as many at once as the memory budget allows.

    Args:
        forward: A forward pass with the network, the images and the memory budget.
        classes: int64 ``(n, k)``.
        count: Number of these blocks.
        attend: Returns the other output.
        gradients: Whether operations are tracked from the first output on that requires gradients.
        second_path: Whether the network itself stays as it is, and the other outputs, projected, are added up along a
            second path, from the tokens that enter the first of these blocks; then its patches, and the network's own
            other tokens, are those that leave the last block.

    Yields:
        The pass of each chunk of images, and their classes.

    Raises:
        InputError: Queries, keys and values of these blocks cannot be told apart, or not all tokens attend.
    """
    network, size = forward.network, (forward.images.shape[2], forward.images.shape[3])
    readout, blocks = find_readout(network, size), find_blocks(network, size)[-count:]
    assert readout is not None  # see blocks_unsupported_reason

    def run(images: Tensor, execute: Callable[[Callable[[nn.Module], fx.Interpreter]], Tensor]) -> LastBlocksPass:
        state = _State(network, readout, blocks, attend, second_path)
        settings = RecorderSettings(state.layers, len(images), readout.tokens, None if second_path else attend)
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            logits = execute(lambda part: _Recorder(part, settings, state))
        if len(state.layers) != len(blocks):
            raise InputError("queries, keys and values of the last blocks cannot be told apart; use another method")
        layout = network.find_layout(images) if readout.node is None else readout.layout
        return LastBlocksPass(logits, state.layers, layout.to_maps(state.tokens[0])[0], readout)

    if isinstance(network.head, fx.GraphModule) and {each.attention for each in blocks} <= {*network.head.graph.nodes}:
        target, others, *extras = forward.extras
        inputs = (target.to_output(forward.features, others), *extras)
        yield run(forward.images, lambda interpreter: interpreter(network.head).run(*inputs)), classes
        return
    at_once = max_batch_size(forward, gradients)
    for images, chosen in zip(torch.split(forward.images, at_once), torch.split(classes, at_once), strict=True):
        yield run(images, lambda interpreter: network.run_interpreted(interpreter, images)), chosen  # noqa: B023  # runs now


def take_values(layer: AttentionLayer) -> Tensor:
    """Return the values of a layer, which are its output if every token attends only to itself.

    Raises:
        InputError: There are fewer of them than heads.
    """
    values = layer.inputs.values
    if values.shape != layer.output.shape:
        raise InputError(f"the heads of {layer.name} share values; use another method")
    return values


@dataclass
class _State:
    """State of one pass, which the interpreters of trunk and head share.

    Attributes:
        network: The network.
        readout: Its last tokens.
        blocks: The blocks that are changed.
        attend: Returns the other output.
        second_path: Whether the other outputs take a path of their own.
        layers: The attention of the blocks so far.
        tokens: The last tokens, once they are computed.
        shadows: With a second path, by node: what would be computed from the other output of the attention.
        path: The tokens of the second path after the last block so far.
    """

    network: Classifier
    readout: Readout
    blocks: tuple[Block, ...]
    attend: Attend
    second_path: bool
    layers: list[AttentionLayer] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)
    shadows: dict[fx.Node, Any] = field(default_factory=dict)
    path: Tensor | None = None


class _Recorder(ProjectionRecorder):
    """Interpreter that replaces what attention outputs, or follows it along a second path."""

    def __init__(self, part: nn.Module, settings: RecorderSettings, state: _State) -> None:
        super().__init__(part, settings)
        self.state = state
        self.attentions = {block.attention for block in state.blocks}
        self.branches = {block.addition: block.branch for block in state.blocks}
        self.sites = {node: site for node, site in self.sites.items() if (site.softmax or node) in self.attentions}
        self.kept = {node for site in self.sites.values() for node in site.nodes}
        self.token_node = find_token_node(state.network, state.readout)
        self.sources: dict[fx.Node, fx.Node] = find_sources(state.network) if part is state.network.head else {}

    def run_node(self, n: fx.Node) -> Any:
        state, recorded = self.state, len(self.state.layers)
        if state.second_path and (branch := self.branches.get(n)) is not None:
            self._add_to_path(n, branch)
        if attention_kind(n, self.module) == "module" and n not in self.attentions:
            result = fx.Interpreter.run_node(self, n)
        else:
            result = super().run_node(n)
        if state.second_path:
            self._follow(n, state.layers[recorded:])
            if n is state.blocks[-1].output:
                assert state.path is not None  # every block has added to it
                result = torch.where(state.blocks[-1].layout.mark_places().to(result.device), state.path, result)
        if n is self.token_node:
            state.tokens.append(result)
        return result

    def _add_to_path(self, n: fx.Node, branch: fx.Node) -> None:
        """Add what a block's attention adds, before the network's own addition, which may overwrite the tokens."""
        state = self.state
        if state.path is None:
            (entering,) = [each for each in n.all_input_nodes if self.sources.get(each, each) is not branch]
            state.path = self.env[entering]
        state.path = state.path + state.shadows[branch]
        state.shadows.clear()

    def _follow(self, n: fx.Node, layers: list[AttentionLayer]) -> None:
        """Compute what a node would output on the second path, if it reads the other output of the attention."""
        shadows = self.state.shadows
        if layers:
            other: Any = self.state.attend(layers[0])
            if n.op == "call_module":
                other = (join_heads(self.module.get_submodule(str(n.target)), other), None)
            shadows[n] = other
        elif (source := self.sources.get(n)) in shadows:
            shadows[n] = shadows[source]
        elif n.op != "output" and n not in self.branches:
            changed = {each: shadows[each] for each in n.all_input_nodes if each in shadows}
            if changed:
                kept = {each: self.env[each] for each in changed}
                self.env.update(changed)
                shadows[n] = fx.Interpreter.run_node(self, n)
                self.env.update(kept)
