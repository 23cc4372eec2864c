"""One pass of a network whose images' places are followed: shapes, layouts, and what reaches the class scores."""

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError, NotFiniteError, first_line
from wsol.models.graph import TracedNetwork
from wsol.models.layout import Layout, find_layout
from wsol.models.places import PlaceTensor, is_reached, track_elements, track_images


def measure(traced: TracedNetwork, side: int) -> "Measurement":
    """Run two images of a side, and follow the places of the image.

    Raises:
        InputError: The network does not accept such images.
    """
    module = fx.GraphModule(traced.network, traced.graph)
    recorder = _Recorder(module)
    overwrites_images = run_tracked(recorder.run, module, traced.name, side)[1]
    return Measurement(traced, side, recorder.outputs, recorder.rows, overwrites_images)


@dataclass(frozen=True)
class Measurement:
    """The outputs of all nodes for two images.

    Attributes:
        traced: The network.
        side: Side of the images.
        outputs: Shape and places of every tensor, without its values.
        rows: Values of the tensors of two dimensions.
        overwrites_images: Whether the network works in place on the images.
    """

    traced: TracedNetwork
    side: int
    outputs: dict[fx.Node, PlaceTensor]
    rows: dict[fx.Node, Tensor]
    overwrites_images: bool

    @cached_property
    def has_tokens(self) -> bool:
        """True if some feature maps come with class tokens or registers."""
        layouts = map(self.layout, reversed(self.outputs))
        return any(layout is not None and layout.has_others for layout in layouts)

    def shape(self, node: Any) -> tuple[int, ...]:
        """Return the shape of the output of a node; empty if it is not a tensor that depends on the images."""
        return tuple(self.outputs[node].shape) if isinstance(node, fx.Node) and node in self.outputs else ()

    def layout(self, node: Any) -> Layout | None:
        """Return the layout of the output of a node; None if it has no feature maps."""
        if node not in self._layouts:
            self._layouts[node] = find_layout(self.outputs.get(node), _IMAGES)
        return self._layouts[node]

    def reaches_scores(self, node: fx.Node) -> bool:
        """Return whether any place of the feature maps of a node reaches the scores.

        It goes without saying where no layer has class tokens, past which the places might not be read.
        """
        layout = self.layout(node)
        if layout is None or not self.has_tokens:
            return layout is not None
        module = fx.GraphModule(self.traced.network, self.traced.graph)
        return is_read(module, node, layout.mark_places(), make_noise(module, (self.side, self.side), images=1))

    @cached_property
    def _layouts(self) -> dict[Any, Layout | None]:
        return {}


_IMAGES = 2  # to tell the axis of the images from one of size 1


def make_noise(network: nn.Module, size: tuple[int, int], images: int = _IMAGES) -> Tensor:
    """Return random images of a height and width, on the device of a network, of its number format."""
    tensor = next((each for each in network.parameters() if each.is_floating_point()), torch.empty(0, device="cpu"))
    noise = torch.randn(_IMAGES, 3, *size, generator=torch.Generator().manual_seed(0), device="cpu")[:images]
    return noise.to(tensor.device, tensor.dtype, copy=True)


def check_finite_scores(scores: Tensor, name: str) -> None:
    """Check the class scores of random images, from which the structure of a network could not be found otherwise.

    Args:
        scores: The scores.
        name: Name of the network in messages.

    Raises:
        NotFiniteError: They are not finite.
    """
    if not scores.is_meta and not scores.isfinite().all():
        raise NotFiniteError(
            f"{name}: the class scores of random images are not finite, because the weights are too large; give "
            "weights from before the training diverged"
        )


def run_tracked(run: Callable[[Tensor], Any], network: nn.Module, name: str, side: int) -> tuple[Any, bool]:
    """Run a network on images whose places are followed.

    Args:
        run: Runs the network.
        network: The network.
        name: Name of the network in messages.
        side: Side of the images.

    Returns:
        The result, and whether the network overwrote its images.

    Raises:
        InputError: The network does not accept such images, or the places cannot be followed.
    """
    images = make_noise(network, (side, side))
    before = images.clone()
    try:
        with torch.inference_mode(False), torch.no_grad():
            result = run(track_images(images))
            return result, not images.is_meta and not torch.equal(images, before)
    except Exception as error:  # the network's own code may raise anything
        reason = _find_failure(network, side, images=_IMAGES)
        if reason is None:
            raise InputError(
                f"{name}: where its features lie in the image cannot be followed ({first_line(error)})"
            ) from error
        if _find_failure(network, side, images=1) is None:
            raise InputError(
                f"{name} accepts one image at a time ({reason}); make it accept batches of any size"
            ) from error
        raise InputError(f"{name} does not accept images of {side} x {side} ({reason})") from error


def _find_failure(network: nn.Module, side: int, images: int) -> str | None:
    """Return why a network cannot run images; None if it can."""
    try:
        # fx prints its own explanation of an error.
        with torch.inference_mode(False), torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            network(make_noise(network, (side, side), images))
    except Exception as error:  # the network's own code may raise anything
        # An assertion's message quotes tracing.
        return re.sub(r" \(Proxy\([^)]*\)\)", "", first_line(error)) or type(error).__name__
    return None


def is_read(module: fx.GraphModule, node: fx.Node, chosen: Tensor, *inputs: Any) -> bool:
    """Return whether the result of a graph depends on some elements of a node's output.

    Args:
        module: The graph.
        node: One of its nodes.
        chosen: The elements, bool, broadcast to the output.
        inputs: Inputs of the graph.
    """
    follower = _Follower(module, node, chosen)
    with torch.inference_mode(False), torch.no_grad():
        result = follower.run(*inputs)
    return follower.source is not None and is_reached(result, follower.source)


class _Recorder(fx.Interpreter):
    """Interpreter that keeps the shape and places of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.outputs: dict[fx.Node, PlaceTensor] = {}
        self.rows: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, PlaceTensor):
            self.outputs[n] = result.without_values()
            if result.dim() == 2:
                self.rows[n] = result.value
        return result


class _Follower(fx.Interpreter):
    """Interpreter that follows some elements of one node's output."""

    def __init__(self, module: fx.GraphModule, node: fx.Node, chosen: Tensor) -> None:
        super().__init__(module)
        self.node, self.chosen = node, chosen
        self.source: PlaceTensor | None = None

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n is self.node:
            result = self.source = track_elements(result, self.chosen)
        return result
