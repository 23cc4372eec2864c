"""Guided backpropagation to the image."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from wsol.methods._image_gradients import image_gradients
from wsol.methods.base import Forward, Method, register
from wsol.models import Classifier


@register("guided-backprop")
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """As ``backprop``, but a ReLU lets only positive gradients pass.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshops 2015, section 3.4. ReLU as
    a layer and as a call are both changed, other activations are left as they are. Costs what ``backprop`` costs.
    """

    needs = "whole gradients"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image, 0 or more."""
        return image_gradients(forward, forward.images, classes, _guided).abs_().amax(2)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Wants a ReLU."""
        graphs = [part for part in (network.trunk, network.head) if isinstance(part, fx.GraphModule)]
        if any(_is_relu(node, graph) for graph in graphs for node in graph.graph.nodes):
            return None
        return "guided backpropagation changes the gradient of ReLU, and there is none; take backprop"


def _guided(network: Classifier, images: Tensor) -> Tensor:
    return network.run_interpreted(_Guided, images)


class _Guided(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        return _gate(*self.fetch_args_kwargs_from_env(n)[0]) if _is_relu(n, self.module) else super().run_node(n)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        output = values.clamp(min=0)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (output,) = ctx.saved_tensors
        passed: Tensor = gradients[0].clamp(min=0) * (output > 0)
        return passed


def _gate(values: Tensor, *_: Any) -> Tensor:
    gated: Tensor = _Gate.apply(values)
    return gated


def _is_relu(node: fx.Node, graph: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), nn.ReLU)
    return node.target in (nn.functional.relu, nn.functional.relu_, torch.relu, torch.relu_, "relu", "relu_")
