"""The target layer of a network in a pass of one image: its maps, its gradients, and the layer before it."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, fx, nn

from wsol.models.classifier import Classifier
from wsol.runtime.precision import arithmetic

_CONSTANT = 1e-5  # largest spread of a gradient over places, relative to its largest magnitude, that is rounding
_SAME = 1e-3  # largest difference of equal maps, divided by their maximum
_MAX_CANDIDATES = 4


class LayerProbe:
    """The target layer of a network, and the layers before it, in a pass of one image of random blobs.

    Args:
        classifier: A network in evaluation mode.
        side: Side of the image in pixels.
    """

    @arithmetic("float32")
    def __init__(self, classifier: Classifier, side: int) -> None:
        noise = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
        blobs = nn.functional.interpolate(noise, (side, side), mode="bilinear")
        self._classifier, self._images = classifier, blobs.to(classifier.device)
        trunk = classifier.trunk
        self._recorder = _Recorder(trunk) if isinstance(trunk, fx.GraphModule) else None
        with torch.inference_mode(False), torch.no_grad():
            if self._recorder is None:
                self._maps, self._extras = classifier.forward_features(self._images)
            else:
                self._maps, self._extras = self._interpret(self._recorder)

    def _interpret(self, interpreter: fx.Interpreter) -> tuple[Tensor, tuple[Any, ...]]:
        """Return feature maps and extras, without compiling a compiled trunk once more for a batch of one image."""
        layout = self._classifier.find_layout(self._images)
        output, *extras = interpreter.run(self._images.clone())
        maps, others = layout.to_maps(output)
        return maps, (layout, others, *extras)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the feature maps."""
        return self._maps.shape[2], self._maps.shape[3]

    @arithmetic("float32")
    def has_constant_gradient(self) -> bool:
        """Return whether the gradient of a class score is the same at every place, as before global average pooling."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = self._maps.detach().requires_grad_()
            score = self._classifier.forward_head(leaf, self._extras).amax(1)
            (gradient,) = _gradients(score, [leaf])
        return gradient is not None and _is_constant(gradient)

    @arithmetic("float32")
    def find_earlier_layer(self) -> str | None:
        """Return the name of the last layer before the target where Grad-CAM and HiResCAM have another map.

        Only layers that all paths to the target lead through are considered, such as the blocks of a ResNet, and only
        those before another layer with weights, so that the target without its last ReLU is not one of them. None if
        there is no such layer, or it has no name.
        """
        if self._recorder is None:
            return None
        candidates = [*islice(_candidates(self._recorder.module, self._recorder.shapes), _MAX_CANDIDATES)]
        if not candidates:
            return None
        with torch.inference_mode(False), torch.enable_grad():
            run = _Retaining(self._recorder.module, {node for node, _ in candidates})
            maps, extras = self._interpret(run)
            score = self._classifier.forward_head(maps, extras).amax(1)
            layers = [maps, *(run.kept[node] for node, _ in candidates)]
            gradients = _gradients(score, layers)
        target = _positive_maps(maps, gradients[0])[0]
        for (_, name), layer, gradient in zip(candidates, layers[1:], gradients[1:], strict=True):
            if not any(_is_multiple(each, target) for each in _positive_maps(layer, gradient)):
                return name
        return None


def _gradients(score: Tensor, at: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Return gradients of a class score; None for a tensor that it does not depend on."""
    return torch.autograd.grad(score.sum(), at, allow_unused=True)


def _is_constant(gradient: Tensor) -> bool:
    """Return whether a gradient ``(1, C, h, w)`` is the same at every place, and not zero."""
    spread = gradient.amax((2, 3)) - gradient.amin((2, 3))
    largest = gradient.abs().amax()
    return bool(largest > 0) and bool((spread <= _CONSTANT * largest).all())


def _positive_maps(layer: Tensor, gradient: Tensor | None) -> list[Tensor]:
    """Return Grad-CAM and HiResCAM of a layer, without negative values; zeros without a gradient."""
    if gradient is None:
        gradient = torch.zeros_like(layer)
    channels = 1 if layer.dim() == 4 and layer.shape[2] == layer.shape[3] else -1
    layer, gradient = layer.movedim(channels, -1), gradient.movedim(channels, -1)
    mean = gradient.mean(tuple(range(1, layer.dim() - 1)), keepdim=True)
    return [(weights * layer).sum(-1).relu().detach() for weights in (mean, gradient)]


def _is_multiple(one: Tensor, other: Tensor) -> bool:
    """Return whether two maps are the same up to a factor; a map of zeros is the same as any."""
    if 0 in (one.amax(), other.amax()):
        return True
    return one.shape == other.shape and bool((one / one.amax() - other / other.amax()).abs().amax() < _SAME)


class _Recorder(fx.Interpreter):
    """Keeps the shape of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.module: fx.GraphModule = module
        self.shapes: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = result.shape
        return result


class _Retaining(fx.Interpreter):
    """Keeps the tensors of some nodes, for gradients with respect to them."""

    def __init__(self, module: fx.GraphModule, nodes: set[fx.Node]) -> None:
        super().__init__(module)
        self._nodes = nodes
        self.kept: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n not in self._nodes:
            return result
        self.kept[n] = result.clone() if result.requires_grad else result.clone().requires_grad_()
        return self.kept[n].clone()  # which a later layer may overwrite


def _candidates(trunk: fx.GraphModule, shapes: dict[fx.Node, torch.Size]) -> Iterator[tuple[fx.Node, str]]:
    """Yield layers before the target with their names, from the last to the first."""
    nodes = list(trunk.graph.nodes)
    target: fx.Node = nodes[-1].args[0][0]  # the trunk returns a tuple of nodes
    used = {target}  # the target depends on it
    for node in reversed(nodes):
        if node in used:
            used.update(each for each in node.all_input_nodes if each in shapes)
    from_image = [node for node in nodes if node in used and (node.op == "placeholder" or node.op != "get_attr")]
    place = {node: i for i, node in enumerate(from_image)}
    last_use = {node: max((place[user] for user in node.users if user in place), default=-1) for node in from_image}
    weighted = False  # whether a layer with weights follows
    for i in range(len(from_image) - 1, 0, -1):
        node = from_image[i]
        if weighted and all(last_use[other] <= i for other in from_image[:i]) and len(shapes[node]) >= 3:
            name = _layer_name(node, nodes)
            if name is not None and max(shapes[node][1:-1]) > 1 and not _does_nothing(node, trunk):
                yield node, name
        weighted = weighted or _has_weights(node, trunk)


def _does_nothing(node: fx.Node, trunk: fx.GraphModule) -> bool:
    module = trunk.get_submodule(str(node.target)) if node.op == "call_module" else None
    return isinstance(module, (nn.Dropout, nn.Dropout2d, nn.Identity))


def _has_weights(node: fx.Node, trunk: fx.GraphModule) -> bool:
    """Return whether a node mixes channels or places: a convolution, a linear layer, attention, a product."""
    if node.op == "call_module":
        module = trunk.get_submodule(str(node.target))
        return isinstance(module, nn.MultiheadAttention) or any(each.dim() > 1 for each in module.parameters())
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name in ("conv2d", "linear", "matmul", "bmm", "einsum", "scaled_dot_product_attention")


def _layer_name(node: fx.Node, nodes: list[fx.Node]) -> str | None:
    """Return the shortest name of a module whose last node this is; None if it is inside a module."""
    parts = str(node.meta.get("layer", "")).split(".")
    if node.op != "call_module":
        parts.pop()  # the name of the operation
    for prefix in (".".join(parts[: i + 1]) for i in range(len(parts))):
        inside = [each for each in nodes if f"{each.meta.get('layer', '')}.".startswith(f"{prefix}.")]
        if prefix and inside and inside[-1] is node:
            return prefix
    return None
