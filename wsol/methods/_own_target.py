"""Targets of users: Python functions of the class scores."""

import hashlib
import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wsol.errors import InputError, first_line
from wsol.methods._target import Target


@dataclass(frozen=True)
class OwnTarget:
    """A function of the class scores, under a name.

    Attributes:
        name: Name in the signature.
        function: From class scores ``(n, classes)`` and classes ``(n, k)`` to numbers ``(n, k)``.
    """

    name: str
    function: Target

    def __call__(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Return the numbers.

        Raises:
            InputError: The function raises, or returns something else.
        """
        try:
            numbers: Any = self.function(logits, classes)
        except InputError:
            raise
        except Exception as error:  # a user's own code may raise anything
            raise InputError(f"the target {self.name} raises {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(numbers, Tensor):
            raise InputError(f"the target {self.name} returns {type(numbers).__name__}; return a tensor")
        if numbers.shape != classes.shape or not numbers.is_floating_point():
            raise InputError(
                f"the target {self.name} returns a tensor {tuple(numbers.shape)} of {numbers.dtype}; return one real "
                f"number for each image and class, {tuple(classes.shape)}"
            )
        if logits.requires_grad and torch.is_grad_enabled() and not numbers.requires_grad:
            raise InputError(f"the target {self.name} does not depend on the class scores by operations of torch")
        return numbers.to(logits.dtype)


def name_target(function: object, name: str | None) -> str:
    """Return the name of a function for signatures: the given one, or its own with the hash of its source.

    Args:
        function: The function.
        name: A name that stands for everything that the function does; None for its own.

    Raises:
        InputError: It is no function; or without a name, its source does not tell what it does or is not known.
    """
    if not callable(function):
        raise InputError(f"a target is a function of class scores and classes, not {type(function).__name__}")
    if name is not None:
        if not re.fullmatch(r"[\w.-]+", name) or name in RESERVED:
            raise InputError(
                f"the target's name {name!r:.80} may have letters, digits, '.', '_' and '-' only, and not be "
                f"{' or '.join(RESERVED)}"
            )
        return name
    own = getattr(function, "__name__", type(function).__name__)
    if not inspect.isfunction(function) or not own.isidentifier():
        raise InputError(f"the target {own} is no function with a name of its own; give a name")
    if function.__closure__:
        read = ", ".join(function.__code__.co_freevars)
        raise InputError(f"the target {own} depends on {read} of the function around it; give a name that tells both")
    if function.__defaults__ or function.__kwdefaults__:
        raise InputError(f"the target {own} has arguments with defaults; give a name that tells their values")
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InputError(f"the source of the target {own} is not known; give a name") from error
    return f"{own}@{hashlib.sha256(source.encode()).hexdigest()[:8]}"


RESERVED = ("class-score", "finer")  # targets that are no functions of users
