"""Guided backpropagation to the image."""

from dataclasses import dataclass
from typing import Any

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
    return network.run_interpreted(_GuidedInterpreter, images)


class _GuidedInterpreter(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        if not _is_relu(n, self.module):
            return super().run_node(n)
        values = self.fetch_args_kwargs_from_env(n)[0][0]
        if not is_in_place(n, self.module):
            return _apply_guided_relu(values)
        return values.copy_(_apply_guided_relu(values.clone()))  # later nodes may read it under its old name


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        output = values.clamp(min=0)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (output,) = ctx.saved_tensors
        gradient: Tensor = gradients[0].clamp(min=0) * (output > 0)
        return gradient


def _apply_guided_relu(values: Tensor) -> Tensor:
    output: Tensor = _GuidedReLU.apply(values)
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
