"""The class scores among the outputs of a network."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError
from wsol.models.graph import TracedNetwork, UntraceableError
from wsol.models.measure import Measurement, make_noise


def select_traced_scores(traced: TracedNetwork, measurement: Measurement, output: str | None) -> tuple[str, ...]:
    """Reduce the graph of a network to its class scores, in place.

    A softmax at the end is left out: the scores are its input.

    Args:
        traced: The network.
        measurement: Shapes of its tensors.
        output: Name or index of the output that holds the scores; None to find it, see ``choose_scores``.

    Returns:
        Remarks that deserve a second look, one sentence each.

    Raises:
        InputError: The network returns no class scores, or several and none is chosen.
    """
    end = traced.output_node
    node = choose_scores(_expand_call(end.args[0]), traced.name, output, measurement.shape)
    notes: tuple[str, ...] = ()
    if _is_softmax(node, traced):
        node = node.all_input_nodes[0]
        notes = (f"{traced.name} ends in a softmax: the class scores are what it is computed from",)
    end.args = (node,)
    return notes


def check_graph(traced: TracedNetwork, side: int) -> None:
    """Check that a network that was traced with known shapes computes what it computes as it is.

    Raises:
        UntraceableError: It does not.
    """
    images = make_noise(traced.network, (side, side))
    if not traced.has_shapes or images.is_meta:
        return
    with torch.inference_mode(False), torch.no_grad():
        expected = traced.network(images.clone())
        try:
            found = fx.GraphModule(traced.network, traced.graph)(images)
        except Exception as error:  # the number of images may be built in
            raise UntraceableError(f"{traced.name}: its structure depends on the images") from error
    outputs, others = (list_outputs(each) or {"": each} for each in (expected, found))
    for key, one in outputs.items():
        other = others.get(key)
        if isinstance(one, Tensor) and not (isinstance(other, Tensor) and _agree(one, other)):
            raise UntraceableError(f"{traced.name}: its structure depends on the images")


def _agree(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one - other).abs() <= 1e-4 * one.abs().max()).all())


def choose_scores(returned: Any, name: str, output: str | None, shape: Any) -> Any:
    """Return the class scores among what a network returns.

    Of several outputs this is the one named ``logits``, or the only one of two dimensions, images and classes.

    Args:
        returned: A tensor, or a mapping, sequence or data class of them, or what stands for them in a graph.
        name: Name of the network in messages.
        output: Name or index of the output that holds the scores; None to find it.
        shape: Function from an output to its shape, empty for what is not a tensor.

    Raises:
        InputError: There are no class scores, or several and none is chosen.
    """
    entries = list_outputs(returned)
    if output is not None:
        if output not in entries:
            names = f"only {', '.join(entries)}" if entries else "only one tensor"
            raise InputError(f"{name} has no output {output!r}; it returns {names}; fix --output")
        chosen = entries[output]
    elif not entries:
        chosen = returned
    else:
        rows = [key for key, each in entries.items() if len(shape(each)) == 2]
        key = "logits" if "logits" in rows else rows[0] if len(rows) == 1 else None
        if key is None:
            listed = ", ".join(f"{key}: {format_shape(shape(each))}" for key, each in entries.items())
            raise InputError(
                f"{name} returns several outputs ({listed}), not a row of class scores; choose one with --output"
            )
        chosen = entries[key]
    if len(shape(chosen)) != 2:
        raise InputError(f"{name} returns {format_shape(shape(chosen))}, not a row of class scores")
    return chosen


def list_outputs(returned: Any) -> dict[str, Any]:
    """Return what a network returns by name or index; empty for a single output."""
    if isinstance(returned, Mapping):
        return {str(key): value for key, value in returned.items() if value is not None}
    if is_dataclass(returned) and not isinstance(returned, type):
        return {each.name: value for each in fields(returned) if (value := getattr(returned, each.name)) is not None}
    if isinstance(returned, (tuple, list)):
        names = getattr(returned, "_fields", None) or map(str, range(len(returned)))
        return dict(zip(names, returned, strict=True))
    return {}


def _expand_call(value: Any) -> Any:
    """Return the arguments of a call that builds a data class or named tuple, in the graph."""
    if isinstance(value, fx.Node) and isinstance(value.target, type):
        names = getattr(value.target, "_fields", None)
        if names is None and is_dataclass(value.target):
            names = [each.name for each in fields(value.target)]
        if names is not None:
            return dict(zip(names, value.args, strict=False)) | dict(value.kwargs)
    return value


def _is_softmax(node: Any, traced: TracedNetwork) -> bool:
    if isinstance(traced.module(node), (nn.Softmax, nn.LogSoftmax)):
        return True
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name in ("softmax", "log_softmax")


def format_shape(shape: tuple[int, ...]) -> str:
    """Return the shape of an output for two images as that for one, if it has an axis for them."""
    if not shape:
        return "something other than a tensor of the images"
    if shape[0] == 2 and len(shape) > 1:
        return f"{' x '.join(map(str, shape[1:]))} for an image"
    return f"{' x '.join(map(str, shape))} for two images"


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of a tensor; empty for anything else."""
    return tuple(value.shape) if isinstance(value, Tensor) else ()
