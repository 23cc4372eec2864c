"""Weights files, read without running any code in them."""

import hashlib
import json
import math
import pickle
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wsol.errors import InputError, NotFiniteError, first_line
from wsol.io.display import printable
from wsol.io.paths import check_file
from wsol.models._unpickle import find_unknown_class, unpickle
from wsol.models.base import Preprocessing

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema", "swa_model", "teacher")
_WRAPPERS = (
    *_AVERAGED,
    *("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module", "weights", "params"),
    *("student", "backbone", "encoder"),
)
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.", "encoder.", "student.", "teacher.")
_COUNTERS = ("n_averaged", "total_ops", "total_params")  # of torch's averaged models and of a counter of operations
_MAX_NESTING = 8  # of dictionaries; one may contain itself
_MAX_PREFIXES = 3


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
_MAX_SIZE = 65535  # pixels


@dataclass(frozen=True)
class Checkpoint:
    """Content of a weights file.

    Attributes:
        path: Path of the file.
        sha256: SHA-256 of the file, hex.
        stored: Tensors by their names in the file, without wrappers.
        metadata: Description that ``wsol.train`` stored with them; None for files of other programs.
        notes: Choices made in reading that deserve a second look, one sentence each.
    """

    path: Path
    sha256: str
    stored: Mapping[str, Tensor]
    metadata: WeightsMetadata | None = None
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors by parameter name, without prefixes that all names share."""
        state = dict(self.stored)
        for prefix in _PREFIXES * 2:
            if all(key.startswith(prefix) for key in state):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
        return state

    def select(self, names: Collection[str]) -> dict[str, Tensor]:
        """Return all tensors under the names that a network expects, as far as prefixes explain the difference.

        Prefixes of the stored names (``module.``, ``backbone.`` ...) are removed such that as many names as possible
        are those of the network; a network whose own names begin with ``model.`` keeps them.

        Args:
            names: The network's names.
        """
        expected = set(names)
        best: Mapping[str, Tensor] = max(_spellings(self.stored), key=lambda state: len(expected.intersection(state)))
        return dict(best)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` file or a file of ``torch.save``.

    A dictionary inside a dictionary (``state_dict``, ``model`` ...) is unwrapped; of weights and their running average
    (``model_ema`` ...) the average is taken, which a note says. A prefix that all names share (``module.`` of
    DataParallel, ``_orig_mod.`` of torch.compile) is removed. Counters of other packages are left out.

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
            content = unpickle(path)
    except Exception as error:  # for a damaged file the readers raise anything from EOFError to struct.error
        if not isinstance(error, (OSError, RuntimeError)) and _is_something_else(path):  # torch explains those
            raise InputError(f"{path} is not a readable weights file; check --weights") from error
        if isinstance(error, pickle.UnpicklingError):
            raise InputError(_explain_conversion(path, find_unknown_class(error))) from error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise InputError(f"{path} is not a readable weights file ({reason:.300}); save it again") from error
    stored, notes = _unwrap(content, path)
    for name, value in stored.items():
        if not _is_stored(value):
            raise InputError(
                f"{path}: {printable(name)[:80]} is not stored element by element; save dense float tensors"
            )
    return Checkpoint(path, file_sha256(path), stored, metadata, notes)


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
        if not isinstance(value, Tensor):  # a module's extra state, which has no defined bytes
            continue
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Check that all weights are finite.

    Args:
        state: Tensors by name.
        path: Path of their file.

    Raises:
        NotFiniteError: A weight is not finite.
    """
    for name, value in state.items():
        if value.is_floating_point() and not (finite := torch.isfinite(value)).all():
            count = int((~finite).sum())
            raise NotFiniteError(
                f"{path}: {printable(name)[:80]} holds {count} numbers that are not finite; give weights from before "
                "the training diverged"
            )


def _is_something_else(path: Path) -> bool:
    """Return whether a file is neither empty, a zip file nor a pickle, and is not called safetensors."""
    with path.open("rb") as file:
        return path.suffix.lower() != ".safetensors" and file.read(1) not in (b"", b"P", b"\x80")


def _read_metadata(path: Path) -> WeightsMetadata | None:
    with safetensors.safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        return None
    try:
        values = json.loads(text)
        (r, g, b), (sr, sg, sb) = (map(float, values["preprocessing"][key]) for key in ("mean", "std"))
        size = values["preprocessing"].get("size")
        name, map_size, classes = (values[key] for key in ("architecture", "map_size", "classes"))
        recipe, scores = dict(values["recipe"]), dict(values["scores"])
        json.dumps(recipe, allow_nan=False, ensure_ascii=False).encode()  # as a run stores it
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"its metadata {_KEY!r} are not those of wsol.train: {first_line(error):.100}") from error
    if (
        not isinstance(name, str)
        or not isinstance(classes, list)
        or not all(isinstance(each, str) for each in classes)
        or not (map_size is None or type(map_size) is int)
        or not (size is None or (type(size) is int and 1 <= size <= _MAX_SIZE))
        or not all(math.isfinite(each) for each in (r, g, b, sr, sg, sb))
        or min(sr, sg, sb) <= 0
    ):
        raise ValueError(f"its metadata {_KEY!r} are not those of wsol.train")
    preprocessing = Preprocessing((r, g, b), (sr, sg, sb), size)
    return WeightsMetadata(name, tuple(classes), preprocessing, map_size, recipe, scores)


def _explain_conversion(path: Path, unknown: str | None) -> str:
    steps = (
        "import torch",
        f"c = torch.load({str(path)!r}, 'cpu', weights_only=False)",
        "c = c if hasattr(c, 'state_dict') else c.get('state_dict', c.get('model', c))",
        "c = c.state_dict() if hasattr(c, 'state_dict') else c",
        f"torch.save({{k: v for k, v in c.items() if torch.is_tensor(v)}}, {str(path.with_suffix('.tensors.pth'))!r})",
    )
    cause = f" (it needs {printable(unknown)[:80]})" if unknown else ""
    return (
        f"{path} holds more than tensors and is not unpickled{cause}, which could run any code; if you trust it, save "
        f"its state_dict() alone: python -c {shlex.quote('; '.join(steps))}"
    )


def _is_stored(value: Tensor) -> bool:
    """Return whether every element of a tensor is in the file; others can declare any size at no cost."""
    if type(value) not in (Tensor, nn.Parameter) or value.layout is not torch.strided or value.is_quantized:
        return False
    return value.device.type == "cpu" and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of the innermost dictionary by their stored names, and the choices made on the way."""
    notes = []
    for _ in range(_MAX_NESTING):
        inner = [key for key in _WRAPPERS if _holds_tensors(_entries(content).get(key))]
        if not inner:
            break
        if len(inner) > 1:
            kind = ", the running average," if inner[0] in _AVERAGED else ""
            notes.append(f"{path.name} holds {' and '.join(map(repr, inner))}; {inner[0]!r}{kind} is used")
        content = _entries(content)[inner[0]]
    state = {str(key): value for key, value in _entries(content).items() if isinstance(value, Tensor)}
    state = {key: value for key, value in state.items() if key.rpartition(".")[2] not in _COUNTERS}
    if not state:
        raise InputError(f"{path} has no named tensors; save a network's state_dict()")
    return state, tuple(notes)


def _entries(content: Any) -> dict[Any, Any]:
    """Return the entries of a dictionary; none of any other object."""
    if not isinstance(content, Mapping):
        return {}
    return dict(type(content).items(content))  # a file can give a dictionary attributes that hide its methods


def _holds_tensors(content: Any) -> bool:
    """Return whether a dictionary, or one that it wraps, has tensors."""
    left, seen = [content], set()
    while left:
        entries = _entries(content := left.pop())
        if any(isinstance(value, Tensor) for value in entries.values()):
            return True
        if id(content) not in seen:  # a dictionary may contain itself
            seen.add(id(content))
            left += [entries[key] for key in _WRAPPERS if key in entries]
    return False


def _spellings(state: Mapping[str, Tensor], depth: int = _MAX_PREFIXES) -> Iterator[Mapping[str, Tensor]]:
    """Yield the tensors under their names, and without up to three prefixes."""
    yield state
    for prefix in _PREFIXES if depth else ():
        shorter = {key.removeprefix(prefix): value for key, value in state.items()}
        if len(shorter) == len(state) and shorter.keys() != state.keys():
            yield from _spellings(shorter, depth - 1)
