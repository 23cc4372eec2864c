"""Weights loaded into a network, with a message that says which tensors do not fit."""

from collections.abc import Iterable

from torch import Tensor, fx, nn

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.models.checkpoint import Checkpoint, check_finite
from wsol.models.graph import UntraceableError, trace


def load_state(network: nn.Module, checkpoint: Checkpoint, name: str, needs_all: bool = False) -> None:
    """Load weights into a network.

    Args:
        network: The network.
        checkpoint: Its weights.
        name: Name of the network in messages.
        needs_all: Whether no tensor may be missing; otherwise those for training alone may.

    Raises:
        InputError: Tensors are missing, left over or of another shape, or hold numbers that are not finite.
    """
    target = network.state_dict()
    used = set(target) if needs_all else _find_used_tensors(network, name)
    state = checkpoint.select(target)
    faults = []
    missing = [key for key in target if key not in state and key in used and not key.endswith("num_batches_tracked")]
    if missing:
        faults.append(f"missing in the file: {_summarize(missing)}")
    unknown = [key for key in state if key not in target]
    if unknown:
        faults.append(f"unknown to the network: {_summarize(unknown)}")
    shapes = [
        f"{key} is {_format_shape(state[key])}, not {_format_shape(target[key])}"
        for key in target
        if key in state and state[key].shape != target[key].shape
    ]
    if shapes:
        faults.append(f"of another shape: {_summarize(shapes)}")
    if faults:
        raise InputError(f"{checkpoint.path} does not fit {name}: {'; '.join(faults)}; check --model and --weights")
    for key, value in target.items():
        if value.is_floating_point() and key in state and not state[key].is_floating_point():
            raise InputError(f"{checkpoint.path}: {key} holds {state[key].dtype}, not real numbers; save float tensors")
    try:
        network.load_state_dict(state, strict=False)
    except (RuntimeError, NotImplementedError) as error:  # number formats that torch can only store
        raise InputError(
            f"{checkpoint.path} cannot be loaded into {name} ({first_line(error)}); save float32 tensors"
        ) from error
    check_finite(target, checkpoint.path)


def _find_used_tensors(network: nn.Module, name: str) -> set[str]:
    """Return the tensors that evaluation uses; those for training alone, such as GoogLeNet's heads, may be missing."""
    try:
        traced = fx.GraphModule(network, trace(network, name).graph)  # has only the modules that the graph calls
    except UntraceableError:
        return set(network.state_dict())
    alive = {tensor.data_ptr() for tensor in (*traced.parameters(), *traced.buffers())}
    return {key for key, value in network.state_dict().items() if value.data_ptr() in alive}


_MAX_NAME_LENGTH = 80


def _summarize(items: Iterable[str]) -> str:
    items = [printable(item)[:_MAX_NAME_LENGTH] for item in items]  # a file may use any names
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")


def _format_shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a scalar"
