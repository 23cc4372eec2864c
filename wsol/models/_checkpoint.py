"""Weights files: read without running anything in them."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from wsol.errors import InputError

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "network", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a weights file.

    Attributes:
        path: Where it lies.
        sha256: Of the file, hex.
        state: Tensors by parameter name, wrappings removed.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a ``.safetensors`` file or a file of ``torch.save``.

    A dictionary inside a dictionary (``state_dict``, ``model`` ...) is unwrapped, and so is a prefix that all names
    share (``module.`` of DataParallel, ``_orig_mod.`` of torch.compile).

    Raises:
        InputError: The file holds no tensors by name, or would have to run code to be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    try:
        if path.suffix.lower() == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with path.open("rb") as file:
            if file.read(1) not in (b"P", b"\x80"):  # neither a zip file nor a pickle
                raise InputError(f"{path} is not a readable weights file; check --weights") from error
        raise InputError(f"{path} holds more than tensors and is not unpickled; save its state_dict() alone") from error
    except Exception as error:  # a damaged file makes the readers raise anything from EOFError to struct.error
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} is not a readable weights file ({reason}); save it again") from error
    return Checkpoint(path, digest.hexdigest(), _unwrapped(content, path))


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPINGS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not state:
        raise InputError(f"{path} holds no tensors by name; save a network's state_dict()")
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
