"""Files of ``torch.save``, read without running any code in them."""

import contextlib
import mmap
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


def unpickle(path: Path) -> Any:
    """Read a file of ``torch.save``: tensors, and containers, numbers and texts around them.

    Plain data of other kinds, such as ``argparse.Namespace``, paths and numpy's numbers, is replaced by objects without
    content: no class that a file names is imported, and no function but those that rebuild tensors is called.

    The sizes that the file declares are compared with the file first, which torch does not do.

    Raises:
        pickle.UnpicklingError: The file holds an object of another kind.
        Exception: It is damaged; the reader raises anything.
    """
    with path.open("rb") as file:
        if (start := file.read(4)) and mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).find(b"bytearray") >= 0:
            raise ValueError("it requests memory that no tensor needs")  # torch would allocate any amount
        if start != b"PK\x03\x04":  # the format of before 2020
            with _allow_plain_data():
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
    with _allow_plain_data():  # with memory mapping, no storage can extend beyond the file
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def find_unknown_class(error: BaseException) -> str | None:
    """Return the class or function that a file needs and ``unpickle`` does not know, from its error."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else None


class _Ignored:
    """Stand-in for an object: it has no content."""

    def __new__(cls, *_: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Dictionary:
    """Stand-in for a class of dictionaries: an empty one, which the reader fills."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()  # the only kind for which torch permits attributes


_NUMPY = ("core.multiarray", "_core.multiarray")  # of numpy 1 and 2
_NUMBERS = ("bool", "bool_", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "str_")
_PATHS = ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
_OMEGACONF = {
    "base": ("ContainerMetadata", "Metadata"),
    "dictconfig": ("DictConfig",),
    "listconfig": ("ListConfig",),
    "nodes": ("AnyNode", "BooleanNode", "BytesNode", "EnumNode", "FloatNode", "IntegerNode", "PathNode", "StringNode"),
}
_OBJECTS = {
    "argparse": ("Namespace",),
    "builtins": ("bool", "float", "int", "list", "str", "tuple"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "numpy": ("dtype", "ndarray", *_NUMBERS),
    **{f"numpy.{module}": ("_reconstruct", "scalar") for module in _NUMPY},
    **{f"omegaconf.{module}": names for module, names in _OMEGACONF.items()},
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,  # of Python 3.13
    "types": ("SimpleNamespace",),
    "typing": ("Any",),
    "uuid": ("UUID",),
}
_DICTIONARIES = {
    "addict.addict": ("Dict",),
    "builtins": ("dict",),
    "collections": ("defaultdict",),
    "easydict": ("EasyDict",),
    "lightning.fabric.utilities.data": ("AttributeDict",),
    "lightning.pytorch.utilities.parsing": ("AttributeDict",),
    "lightning_fabric.utilities.data": ("AttributeDict",),
    "mmcv.utils.config": ("ConfigDict",),
    "mmengine.config.config": ("ConfigDict",),
    "pytorch_lightning.utilities.parsing": ("AttributeDict",),
    "yacs.config": ("CfgNode",),
}
_STAND_INS: list[Any] = [
    type(name, (base,), {"__module__": module})  # torch looks them up by module and name
    for base, table in ((_Ignored, _OBJECTS), (_Dictionary, _DICTIONARIES))
    for module, names in table.items()
    for name in names
]


@contextlib.contextmanager
def _allow_plain_data() -> Iterator[None]:
    """Let torch replace plain data by stand-ins within the context only; others may use ``torch.load`` too."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(_STAND_INS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
