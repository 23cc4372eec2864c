"""A stand-in for ``torchmetrics.Metric`` where that package is not installed."""

import copy
import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn


class Metric(nn.Module):
    """State that batches add to and that processes sum up, with the methods and the behavior of torchmetrics.

    ``compute`` reduces the state over the processes of the default group, returns the result, and restores the state
    of this process; the result is kept until the next ``update`` or ``reset``. States move with ``to(device)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._defaults: dict[str, Tensor | None] = {}
        self._computed: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.update = _forget_result(cls.update)  # type: ignore[attr-defined]  # subclasses have it
        cls.compute = _reduce_first(cls.compute)  # type: ignore[attr-defined]

    def add_state(self, name: str, default: Tensor | list[Tensor], dist_reduce_fx: Literal["sum", "cat"]) -> None:
        """Register a state: a tensor that is summed over processes, or an empty list that is concatenated."""
        assert (dist_reduce_fx == "sum") == isinstance(default, Tensor)
        self._defaults[name] = default.clone() if isinstance(default, Tensor) else None
        if isinstance(default, Tensor):
            self.register_buffer(name, default, persistent=False)
        else:
            setattr(self, name, default)

    def reset(self) -> None:
        """Return to the state before the first ``update``."""
        self._computed = None
        for name, default in self._defaults.items():
            setattr(self, name, [] if default is None else default.clone().to(getattr(self, name).device))

    def clone(self) -> "Metric":
        """Return a copy with a state of its own."""
        return copy.deepcopy(self)

    @property
    def device(self) -> torch.device:
        """Device of the states."""
        return next(self.buffers()).device

    def _reduce(self) -> None:
        """Replace the states by those of all processes together."""
        for name, default in self._defaults.items():
            value = getattr(self, name)
            if default is not None:
                total = value.clone()
                distributed.all_reduce(total)
                setattr(self, name, total)
                continue
            parts: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(parts, [each.cpu() for each in value])
            setattr(self, name, [each for part in parts for each in part])


def _forget_result(update: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(update)
    def wrapped(self: Metric, *args: Any, **kwargs: Any) -> None:
        self._computed = None
        update(self, *args, **kwargs)

    return wrapped


def _reduce_first(compute: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(compute)
    def wrapped(self: Metric) -> Any:
        if self._computed is not None:
            return self._computed
        if not (distributed.is_available() and distributed.is_initialized()):
            self._computed = compute(self)
            return self._computed
        own = {name: getattr(self, name) for name in self._defaults}
        try:
            self._reduce()
            self._computed = compute(self)
        finally:
            for name, value in own.items():
                setattr(self, name, value)
        return self._computed

    return wrapped
