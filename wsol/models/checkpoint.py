"""Weights files, read without running any code in them."""

import hashlib
import json
import math
import mmap
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.io.paths import check_file
from wsol.models.base import Preprocessing

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_MAX_NESTING = 8  # of dictionaries; one may contain itself


@dataclass(frozen=True)
class WeightsMetadata:
    """Description of the weights that ``wsol.train`` stores in their file.

    Attributes:
        architecture: Registered name.
        classes: Class names in label order.
        preprocessing: Preprocessing that the weights expect.
        map_size: Side of the feature maps for a 224 x 224 image; None for the architecture's own.
        recipe: Settings of the training; JSON.
        scores: Results of the training; JSON.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    map_size: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Return the description as the metadata of a ``.safetensors`` file."""
        return {_KEY: json.dumps(asdict(self), ensure_ascii=False)}


_KEY = "wsol"


@dataclass(frozen=True)
class Checkpoint:
    """Content of a weights file.

    Attributes:
        path: Path of the file.
        sha256: SHA-256 of the file, hex.
        state: Tensors by parameter name, without wrappers.
        metadata: Description that ``wsol.train`` stored with them; None for files of other programs.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]
    metadata: WeightsMetadata | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` file or a file of ``torch.save``.

    A dictionary inside a dictionary (``state_dict``, ``model`` ...) is unwrapped, and a prefix that all names share
    (``module.`` of DataParallel, ``_orig_mod.`` of torch.compile) is removed.

    Raises:
        InputError: The file has no named tensors, declares more data than it has, or cannot be read without running
            code.
    """
    metadata = None
    try:
        check_file(path)
        if path.suffix.lower() == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
            metadata = _read_metadata(path)
        else:
            content = _unpickle(path)
    except pickle.UnpicklingError as error:
        with path.open("rb") as file:
            if file.read(1) not in (b"P", b"\x80"):  # neither a zip file nor a pickle
                raise InputError(f"{path} is not a readable weights file; check --weights") from error
        raise InputError(f"{path} holds more than tensors and is not unpickled; save its state_dict() alone") from error
    except Exception as error:  # for a damaged file the readers raise anything from EOFError to struct.error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise InputError(f"{path} is not a readable weights file ({reason:.300}); save it again") from error
    state = _unwrap(content, path)
    for name, value in state.items():
        if not _is_stored(value):
            raise InputError(
                f"{path}: {printable(name)[:80]} is not stored element by element; save dense float tensors"
            )
    return Checkpoint(path, file_sha256(path), state, metadata)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def network_sha256(network: nn.Module) -> str:
    """Return a SHA-256 of all tensors of a network and their names, hex, for a network without a weights file."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Check that all weights are finite.

    Args:
        state: Tensors by name.
        path: Path of their file.

    Raises:
        InputError: A weight is not finite.
    """
    for name, value in state.items():
        if value.is_floating_point() and not (finite := torch.isfinite(value)).all():
            count = int((~finite).sum())
            raise InputError(
                f"{path}: {printable(name)[:80]} holds {count} numbers that are not finite; give weights from before "
                "the training diverged"
            )


def _read_metadata(path: Path) -> WeightsMetadata | None:
    with safetensors.safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        return None
    try:
        values = json.loads(text)
        (r, g, b), (sr, sg, sb) = (map(float, values["preprocessing"][key]) for key in ("mean", "std"))
        name, map_size, classes = (values[key] for key in ("architecture", "map_size", "classes"))
        recipe, scores = dict(values["recipe"]), dict(values["scores"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"its metadata {_KEY!r} are not those of wsol.train: {first_line(error):.100}") from error
    if (
        not isinstance(name, str)
        or not isinstance(classes, list)
        or not all(isinstance(each, str) for each in classes)
        or not (map_size is None or type(map_size) is int)
        or not all(math.isfinite(each) for each in (r, g, b, sr, sg, sb))
        or min(sr, sg, sb) <= 0
    ):
        raise ValueError(f"its metadata {_KEY!r} are not those of wsol.train")
    return WeightsMetadata(name, tuple(classes), Preprocessing((r, g, b), (sr, sg, sb)), map_size, recipe, scores)


def _unpickle(path: Path) -> Any:
    """Read a file of ``torch.save``, after comparing the declared sizes with the file, which torch does not do."""
    with path.open("rb") as file:
        if (start := file.read(4)) and mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).find(b"bytearray") >= 0:
            raise ValueError("it requests memory that no tensor needs")  # torch would allocate any amount
        if start != b"PK\x03\x04":  # the format of before 2020
            return torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise ValueError("it is a TorchScript archive, which is code")
    size = path.stat().st_size
    if sum(member.file_size for member in members) > size or any(member.compress_type for member in members):
        raise ValueError(
            "its entries declare more data than the file has, or are compressed, which torch.save never does"
        )
    # With memory mapping, no storage can extend beyond the file.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _is_stored(value: Tensor) -> bool:
    """Return whether every element of a tensor is in the file; others can declare any size at no cost."""
    if type(value) not in (Tensor, nn.Parameter) or value.layout is not torch.strided or value.is_quantized:
        return False
    return value.device.type == "cpu" and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(_MAX_NESTING):
        if not isinstance(content, Mapping):
            break
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not state:
        raise InputError(f"{path} has no named tensors; save a network's state_dict()")
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
