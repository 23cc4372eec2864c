"""Guided backpropagation to the image."""

import copy
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from wsol.methods._image_gradients import compute_image_gradients
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier
from wsol.models.graph import is_in_place


@METHODS.register("guided-backprop")
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """``backprop`` with ReLUs that let only positive gradients pass.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshops 2015, section 3.4. ReLU
    modules and ReLU calls are both changed, other activations are not. Costs what ``backprop`` costs.
    """

    needs = "image gradients"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        return compute_image_gradients(forward, forward.images, classes, _run_guided).abs_().amax(2)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require a ReLU."""
        graphs = [part for part in (network.trunk, network.head) if isinstance(part, fx.GraphModule)]
        if any(_is_relu(node, graph) for graph in graphs for node in graph.graph.nodes):
            return None
        return "guided backpropagation changes the gradient of ReLUs, and the network has none; use backprop"


def _run_guided(network: Classifier, images: Tensor) -> Tensor:
    return network.run_replaced(_guide, images)


_GUIDED: "WeakKeyDictionary[nn.Module, nn.Module]" = WeakKeyDictionary()


def _guide(part: nn.Module) -> nn.Module:
    """Return a part of a network with guided ReLUs; it shares its tensors, and is kept, as code is compiled for it."""
    if not isinstance(part, fx.GraphModule):
        return part
    if part not in _GUIDED:
        guided = fx.GraphModule(part, copy.deepcopy(part.graph))
        for node in guided.graph.nodes:
            if _is_relu(node, part):
                # Where the ReLU works in place, later nodes may read its output under the name of its input.
                arguments = (node.args[0], is_in_place(node, part))
                node.op, node.target, node.args, node.kwargs = "call_function", _apply_guided_relu, arguments, {}
        guided.recompile()
        _GUIDED[part] = guided
    return _GUIDED[part]


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, in_place: bool) -> Tensor:
        if in_place:
            ctx.mark_dirty(values)
        output = values.relu_() if in_place else values.relu()
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (output,) = ctx.saved_tensors
        gradient: Tensor = torch.ops.aten.threshold_backward(gradients[0].clamp(min=0), output, 0)
        return gradient, None


def _apply_guided_relu(values: Tensor, in_place: bool) -> Tensor:
    output: Tensor = _GuidedReLU.apply(values, in_place)
    return output


def _is_relu(node: fx.Node, graph: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), nn.ReLU)
    return node.op != "placeholder" and node.target in (
        nn.functional.relu,
        nn.functional.relu_,
        torch.relu,
        torch.relu_,
        "relu",
        "relu_",
    )
