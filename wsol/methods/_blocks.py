"""The blocks of a vision transformer: its attention, and the residual additions behind it."""

import operator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from wsol.methods._tokens import LayoutRecorder
from wsol.models import Classifier
from wsol.models.graph import attention_kind
from wsol.models.layout import Layout
from wsol.models.measure import make_noise
from wsol.models.places import track_images


@dataclass(frozen=True, eq=False)
class Block:
    """Nodes of one block, each in the graph of the network's trunk or head.

    Attributes:
        attention: Computes the attention.
        addition: The first addition behind the attention: to the tokens that enter the block.
        branch: What it adds to them: the projected output of the attention.
        output: The last addition before the next attention: the tokens that leave the block.
        layout: Layout of these tokens.
    """

    attention: fx.Node
    addition: fx.Node
    branch: fx.Node
    output: fx.Node
    layout: Layout


def find_blocks(network: Classifier, size: tuple[int, int]) -> tuple[Block, ...]:
    """Find the blocks of a network, in the order of execution.

    A block is an attention, and the additions to all tokens behind it through which alone the image reaches the rest of
    the network.

    Args:
        network: The network.
        size: Height and width of the images.

    Returns:
        The blocks; empty if the network cannot be traced or is not built of such blocks, or if more than the tokens of
        the last one reaches the class scores.
    """
    found = _FOUND.setdefault(network, {})
    if size not in found:
        with torch.inference_mode(False), torch.no_grad():
            found[size] = _find_blocks(network, make_noise(network, size))
    return found[size]


def blocks_unsupported_reason(network: Classifier, count: int) -> str | None:
    """Return why a network does not have a number of blocks, in one sentence; None if it has."""
    found = len(find_blocks(network, network.size))
    if not found:
        return f"the tokens before {network.layer} are not those of blocks with residual additions; use chefer"
    if found < count:
        return f"the network has {found} block{'s' if found > 1 else ''}, fewer than {count}; set layers={found}"
    return None


def find_sources(network: Classifier) -> dict[fx.Node, fx.Node]:
    """Return, for the inputs of a head, the nodes of the trunk that compute them; empty if a part has no graph."""
    if not isinstance(network.trunk, fx.GraphModule) or not isinstance(network.head, fx.GraphModule):
        return {}
    returned: Any = next(iter(reversed(network.trunk.graph.nodes))).args[0]
    inputs = [node for node in network.head.graph.nodes if node.op == "placeholder"]
    return dict(zip(inputs, returned, strict=True))


_FOUND: "WeakKeyDictionary[nn.Module, dict[tuple[int, int], tuple[Block, ...]]]" = WeakKeyDictionary()


def _find_blocks(network: Classifier, images: Tensor) -> tuple[Block, ...]:
    if not isinstance(network.trunk, fx.GraphModule):
        return ()
    trunk = LayoutRecorder(network.trunk, len(images))
    outputs = trunk.run(track_images(images))
    steps = _list_steps(trunk, {})
    if isinstance(network.head, fx.GraphModule):
        head = LayoutRecorder(network.head, len(images))
        head.run(*outputs)
        steps += _list_steps(head, find_sources(network))
    additions = _find_bottlenecks(steps)
    attentions = [i for i, step in enumerate(steps) if step.attends]
    blocks = []
    for first, end in zip(attentions, [*attentions[1:], len(steps)], strict=True):
        inside = [i for i in additions if first < i < end]
        branch = _find_branch(steps, first, inside[0]) if inside else None
        if branch is not None:
            layout = steps[inside[-1]].layout
            assert layout is not None  # see _find_bottlenecks
            addition, output = (steps[inside[i]].node for i in (0, -1))
            blocks.append(Block(steps[first].node, addition, branch, output, layout))
    if not blocks or not _is_only_source(steps, blocks[-1].output):
        return ()
    return tuple(blocks)


@dataclass(frozen=True)
class _Step:
    """A node of trunk or head.

    Attributes:
        node: The node.
        inputs: The nodes that it reads; in place of the head's inputs, the nodes of the trunk that compute them.
        has_places: Whether its output is computed from the image, not only from the image's size.
        layout: Layout of its output, if these are feature maps.
        attends: Whether it computes attention.
    """

    node: fx.Node
    inputs: list[fx.Node]
    has_places: bool
    layout: Layout | None
    attends: bool


def _list_steps(recorder: LayoutRecorder, sources: dict[fx.Node, fx.Node]) -> list[_Step]:
    part = recorder.graph_module
    return [
        _Step(
            node,
            [sources.get(each, each) for each in node.all_input_nodes],
            node in recorder.tracked,
            recorder.layouts.get(node),
            attention_kind(node, part) is not None,
        )
        for node in part.graph.nodes
        if node.op != "output" and node not in sources
    ]


_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_", "__add__")


def _find_bottlenecks(steps: list[_Step]) -> list[int]:
    """Return the additions of tokens whose result is all of the image that later steps read."""
    last_use = {each: i for i, step in enumerate(steps) for each in step.inputs}
    found, latest = [], 0  # the last step that reads something of the image from before
    for i, step in enumerate(steps):
        is_addition = step.node.target in _ADDITIONS and len(step.inputs) == 2
        if is_addition and step.layout is not None and len(step.layout.axes) == 1 and latest <= i:
            found.append(i)
        if step.has_places:
            latest = max(latest, last_use.get(step.node, 0))
    return found


def _find_branch(steps: list[_Step], attention: int, addition: int) -> fx.Node | None:
    """Return the summand of an addition that is computed from an attention; None unless it is exactly one."""
    depends = {steps[attention].node}
    for step in steps[attention + 1 : addition]:
        if any(each in depends for each in step.inputs):
            depends.add(step.node)
    branches = [each for each in steps[addition].inputs if each in depends]
    return branches[0] if len(branches) == 1 else None


def _is_only_source(steps: list[_Step], node: fx.Node) -> bool:
    """Return whether no step behind a node reads anything else that depends on the images, not even their number."""
    depends: set[fx.Node] = set()
    behind = False
    for step in steps:
        if behind and any(each in depends for each in step.inputs):
            return False
        if not behind and (step.node.op == "placeholder" or any(each in depends for each in step.inputs)):
            depends.add(step.node)
        if step.node is node:
            behind = True
            depends.discard(node)
    return True
