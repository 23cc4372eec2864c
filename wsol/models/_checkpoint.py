"""Weights files: read without running anything in them."""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.base import Preprocessing

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "network", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class Facts:
    """What a weights file says about itself.

    Attributes:
        architecture: Registered name.
        classes: Names in label order.
        preprocessing: What the weights expect.
        map_size: Side of the maps of a 224 x 224 image; None for the architecture's own.
        recipe: How they were trained; JSON.
        scores: What they reached; JSON.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    map_size: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    def dumped(self) -> dict[str, str]:
        """Returns them as the metadata of a ``.safetensors`` file."""
        return {_KEY: json.dumps(asdict(self), ensure_ascii=False)}


_KEY = "wsol"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a weights file.

    Attributes:
        path: Where it lies.
        sha256: Of the file, hex.
        state: Tensors by parameter name, wrappings removed.
        facts: What ``wsol.train`` wrote beside them; None where another program made the file.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]
    facts: Facts | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a ``.safetensors`` file or a file of ``torch.save``.

    A dictionary inside a dictionary (``state_dict``, ``model`` ...) is unwrapped, and so is a prefix that all names
    share (``module.`` of DataParallel, ``_orig_mod.`` of torch.compile).

    Raises:
        InputError: The file holds no tensors by name, or would have to run code to be read.
    """
    facts = None
    try:
        if path.suffix.lower() == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
            facts = _facts(path)
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
    return Checkpoint(path, file_sha256(path), _unwrapped(content, path), facts)


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def network_sha256(network: nn.Module) -> str:
    """Returns a SHA-256 of all tensors of a network and their names, hex, for one that comes without a file."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _facts(path: Path) -> Facts | None:
    with safetensors.safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        return None
    values = json.loads(text)
    (r, g, b), (sr, sg, sb) = (map(float, values["preprocessing"][key]) for key in ("mean", "std"))
    side = values["map_size"]
    return Facts(
        str(values["architecture"]),
        tuple(map(str, values["classes"])),
        Preprocessing((r, g, b), (sr, sg, sb)),
        None if side is None else int(side),
        values["recipe"],
        values["scores"],
    )


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
