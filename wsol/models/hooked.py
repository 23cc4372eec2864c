"""Networks that cannot be traced: the output of one module is read and replaced by hooks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.classifier import Classifier
from wsol.models.layout import Layout, find_layout
from wsol.models.linear_head import find_linear_head
from wsol.models.measure import check_finite_scores, make_noise, run_tracked
from wsol.models.outputs import choose_scores, shape_of
from wsol.models.places import PlaceTensor, is_reached, track_elements


class HookedClassifier(Classifier):
    """A network that runs as a whole, with the output of its target layer read, and replaced, by a hook.

    A hook is there only during a pass of its own thread. Scores of other feature maps cost a pass of the whole network.

    Args:
        network: Maps images to class scores, or to several outputs.
        name: Name of the network in messages.
        layer: Name of the target layer, a module.
        layout: Layout of the layer's output.
        size: Height and width of the images that the layout was found with.
        output: Name or index of the output that holds the class scores; None to find it.
    """

    def __init__(
        self, network: nn.Module, name: str, layer: str, layout: Layout, size: tuple[int, int], output: str | None
    ) -> None:
        super().__init__(network, nn.Identity(), layer, layout, size)
        self._name, self._output = name, output

    def forward_features(self, images: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the feature maps of images, ``(n, C, h, w)``, and the pass that computed them."""
        self.count_pass(len(images))
        layout, seen = self.find_layout(images), []

        def read(output: Tensor) -> Tensor:
            seen.append(output)
            return output.clone()  # what follows may overwrite it

        logits = self.run(images, {self.layer: read})
        maps, others = layout.to_maps(seen[0])
        return maps, (HookedPass(layout, images, maps, logits), others)

    def forward_head(self, maps: Tensor, extras: tuple[Any, ...]) -> Tensor:
        """Return the class scores ``(n, classes)`` of feature maps: those of the pass, or of another one."""
        done, others = extras
        if maps is done.maps:
            scores: Tensor = done.logits
            return scores
        # A copy, which what follows may overwrite.
        return self.run(done.images, {self.layer: lambda _: done.layout.to_output(maps, others).clone()})

    def run_replaced(self, replace: Callable[[nn.Module], Callable[..., Any]], images: Tensor) -> Tensor:
        """Refuse, because there is no graph."""
        raise InputError(f"{self._name} cannot be traced; use a method of features and gradients")

    def measure_layout(self, images: PlaceTensor) -> Layout | None:
        """Return the layout of the layer's output for tracked images."""
        seen: list[Tensor] = []
        self.run(images, {self.layer: lambda output: seen.append(output) or output})  # type: ignore[func-returns-value]
        return find_layout(seen[0], len(images))

    def run(self, images: Tensor, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Tensor:
        """Return the class scores of images, with the outputs of some layers replaced by functions of them."""
        with ExitStack() as hooks:
            for layer, change in changes.items():
                hooks.enter_context(_replace_output(self.trunk.get_submodule(layer), change))
            returned = self.trunk(images.clone())
        scores: Tensor = choose_scores(returned, self._name, self._output, shape_of)
        return scores


@dataclass(frozen=True)
class HookedPass:
    """The results of one pass: layout, images, maps and class scores."""

    layout: Layout
    images: Tensor
    maps: Tensor
    logits: Tensor


def find_hooked_classifier(
    network: nn.Module, name: str, layer: str | None, side: int, output: str | None, error: InputError
) -> HookedClassifier:
    """Find the target layer of a network that cannot be traced.

    It is the last module whose output has feature maps that reach the class scores.

    Args:
        network: A network in evaluation mode.
        name: Name of the network in messages.
        layer: Dotted name of the target layer, a module; None to find it.
        side: Side of the square images that the network is measured with.
        output: Name or index of the output that holds the class scores; None to find it.
        error: Why the network cannot be traced.

    Raises:
        InputError: The network cannot be run, there is no such module, or its output has no feature maps.
    """
    modules = dict(network.named_modules())
    if layer is not None and layer not in modules:
        children = ", ".join(path for path, _ in network.named_children())
        raise InputError(
            f"{name} has no layer {layer}; its children are {children}, and layers inside them are named with a dot"
        )
    calls, returned = _record_calls(network, name, side)
    scores = choose_scores(returned, name, output, shape_of)
    check_finite_scores(scores.value, name)
    if layer is None:
        layer = _find_last_module(network, name, side, output, calls)
        note = f"{name} cannot be traced: maps are those of {layer}, its last module with feature maps"
    else:
        note = f"{name} cannot be traced: the module {layer} is read by a hook"
    found = [each for each in calls if each.path == layer]
    layout = find_layout(found[0].output, 2) if len(found) == 1 else None
    if layout is None:
        fault = "is called several times" if len(found) > 1 else "has no feature maps whose places are known"
        raise InputError(f"{name}: {layer} {fault if found else 'is not called'}; name another layer ({error})")
    classifier = HookedClassifier(network, name, layer, layout, (side, side), output)
    classifier.training = classifier.head.training = False  # as the network is; its own eval() may do more
    rows = scores.value
    if bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-4).all()):
        note += "; it ends in a softmax, so that maps are those of probabilities"
    classifier.notes, classifier.classes = (note,), scores.shape[1]
    linear = find_linear_head(classifier, make_noise(network, (side, side), images=1))
    if linear is None:
        classifier.unsupported_reason = (
            f"class activation maps need class scores that are linear in the mean or maximum of {layer} over all "
            "places; use gradcam or another method"
        )
    else:
        channels = len(linear.bias)
        classifier.class_weights = torch.eye(channels) if linear.weights is None else linear.weights.detach()
    return classifier


@dataclass(frozen=True)
class _Call:
    """A call of a module: its path, its input and its output, without values."""

    path: str
    module: nn.Module
    given: Any
    output: PlaceTensor


def _record_calls(network: nn.Module, name: str, side: int) -> tuple[list[_Call], Any]:
    """Run tracked images; return the calls of all modules in the order in which they end, and what is returned."""
    calls: list[_Call] = []
    thread = get_ident()

    def record(path: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if get_ident() == thread and (tensor := _first_tensor(output)) is not None:
                source = next((each.without_values() for each in given if isinstance(each, PlaceTensor)), None)
                calls.append(_Call(path, module, source, tensor.without_values()))

        return hook

    handles = [module.register_forward_hook(record(path)) for path, module in network.named_modules() if path]
    try:
        returned, _ = run_tracked(network, network, name, side)
    finally:
        for handle in handles:
            handle.remove()
    return calls, returned


def _find_last_module(network: nn.Module, name: str, side: int, output: str | None, calls: list[_Call]) -> str:
    """Return the path of the last module with feature maps that reach the class scores."""
    paths = [each.path for each in calls]
    for call in reversed(calls):
        layout = find_layout(call.output, 2)
        if layout is None or paths.count(call.path) > 1:
            continue
        if isinstance(call.module, (nn.Linear, nn.Dropout)) and find_layout(call.given, 2) is not None:
            continue  # a projection of the features before it
        if not layout.has_others or _is_read(network, name, side, output, call.path, layout):
            return call.path
    raise InputError(f"{name}: no module outputs feature maps of several rows and columns; name one with --layer")


def _is_read(network: nn.Module, name: str, side: int, output: str | None, path: str, layout: Layout) -> bool:
    sources: list[PlaceTensor] = []

    def follow(value: Tensor) -> Tensor:
        sources.append(track_elements(value, layout.mark_places()))
        return sources[-1]

    with torch.inference_mode(False), torch.no_grad(), _replace_output(network.get_submodule(path), follow):
        returned = network(make_noise(network, (side, side), images=1))
    return is_reached(choose_scores(returned, name, output, shape_of), sources[0])


@contextmanager
def _replace_output(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the output of a module, or the first tensor of several, in passes of this thread."""
    thread = get_ident()

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if get_ident() != thread:
            return None
        if isinstance(output, Tensor):
            return change(output)
        first, *rest = output
        replaced = (change(first), *rest)
        return type(output)(*replaced) if hasattr(output, "_fields") else type(output)(replaced)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _first_tensor(output: Any) -> PlaceTensor | None:
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return first if isinstance(first, PlaceTensor) else None
