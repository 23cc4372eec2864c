"""Weights files that harm, lie or are broken: nothing in them is run or believed, a sentence each."""

import argparse
import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import refusal
from safetensors.torch import save, save_file
from torch import nn

from wsol.errors import InputError
from wsol.eval import main
from wsol.models import Preprocessing, WeightsMetadata, load_matching, load_model
from wsol.models._caffe_format import build_net_class
from wsol.models.caffe import read_caffemodel

pytestmark = pytest.mark.slow

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.fc = torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Linear(4, 3)
    def forward(self, images):
        return self.fc(self.stem(images).relu().mean((2, 3)))
"""
SHAPES = {"stem.weight": (4, 3, 8, 8), "stem.bias": (4,), "fc.weight": (3, 4), "fc.bias": (3,)}
TERA = 1 << 40


def state(**changed: Any) -> dict[str, Any]:
    return {name: torch.full(shape, 0.1) for name, shape in SHAPES.items()} | {
        name.replace("_", "."): value for name, value in changed.items()
    }


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's own network."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    return "net.py:Net"


def refused(name: str | None, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(name, path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 1000
    return sentence


class Harmful:
    """What a pickle makes by a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def pth(content: Any, **more: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **more)
    return file.getvalue()


def lengthened(factor: int) -> bytes:
    """A storage that says it has more numbers than are in the file."""
    content = {"fc.weight": torch.arange(0x5157, dtype=torch.int16)}
    return repacked(pth(content), lambda data: data.replace(b"M\x57\x51", b"J" + struct.pack("<i", 0x5157 * factor)))


def repacked(content: bytes, change: Callable[[bytes], bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", packing) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


def script() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(4, 3)), file)
    return file.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as archive:
        for name, text in (("storages", pickle.dumps(1)), ("tensors", pickle.dumps(1)), ("pickle", b"cos\nsystem\n.")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return out.getvalue()


class Hidden:
    """A dictionary of the reader whose attributes hide its methods."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), {"items": 3, "get": 3, "keys": 3}, None, iter(state().items())


def knotted() -> dict[str, Any]:
    """Dictionaries that each hold all others under every name of a wrapper."""
    rings: list[dict[str, Any]] = [{} for _ in range(12)]
    for ring in rings:
        ring.update(zip(("model_ema", "ema", "teacher", "state_dict", "model", "net", "module"), rings, strict=False))
    return rings[0]


def endless() -> dict[str, Any]:
    content: dict[str, Any] = {"epoch": 3}
    content["model"] = content
    return content


UNREADABLE = "w.pth is not a readable weights file "
NOT_STORED = "is not stored element by element; save dense float tensors"
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "system": (lambda: pth({"a": Harmful(os.system, "touch harm")}), "holds more than tensors and is not unpickled"),
    "system, old": (
        lambda: pth({"a": Harmful(os.system, "touch harm")}, _use_new_zipfile_serialization=False),
        "holds more than tensors and is not unpickled",
    ),
    "eval": (lambda: pickle.dumps(Harmful(eval, "open('harm', 'w')")), "holds more than tensors and is not unpickled"),
    "memory": (
        lambda: pth({"a": Harmful(bytearray, 1 << 36)}),
        UNREADABLE + ".it requests memory that no tensor needs",
    ),
    "memory, old": (lambda: pickle.dumps(Harmful(bytearray, 1 << 36), 2), UNREADABLE + ".it requests memory"),
    "script": (script, UNREADABLE + ".it is a TorchScript archive, which is code"),
    "tar": (tar, UNREADABLE),
    "empty": (lambda: b"", UNREADABLE),
    "cut": (lambda: pth(state())[:-100], UNREADABLE),
    "cut, old": (lambda: pth(state(), _use_new_zipfile_serialization=False)[:-100], UNREADABLE),
    "random": (lambda: np.random.default_rng(0).bytes(3000), "w.pth is not a readable weights file; check --weights"),
    "a zip file of text": (lambda: repacked(pth(state()), lambda _: b"hello"), UNREADABLE),
    "compressed": (
        lambda: repacked(pth(state(fc_weight=torch.zeros(1 << 20))), lambda data: data, zipfile.ZIP_DEFLATED),
        UNREADABLE + ".its entries declare more data than the file has",
    ),
    "a storage that is longer": (lambda: lengthened(1000), UNREADABLE),
    "a storage that is slightly longer": (lambda: lengthened(2), UNREADABLE + "|is not stored|does not fit"),
    "plain data that harms": (
        lambda: pth({"a": Harmful(argparse.Namespace, Harmful(os.system, "touch harm"))}),
        "is not unpickled .it needs (os|posix).system., which could run any code; if you trust it, save its state_dict",
    ),
    "paths that are opened": (
        lambda: pth({"a": Harmful(getattr, Harmful(Path, "harm"), "touch")}),
        "is not unpickled .it needs getattr.",
    ),
    "a list of a trillion": (lambda: pth({"a": Harmful(np.ndarray, (TERA,))}), "w.pth has no named tensors"),
    "knotted": (lambda: pth(knotted()), "w.pth has no named tensors"),
    "itself": (lambda: pth(endless()), "w.pth has no named tensors"),
    "deep": (lambda: b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", UNREADABLE + "|holds more than tensors"),
    "one number, a trillion times": (lambda: pth(state(fc_weight=torch.zeros(1).expand(TERA))), NOT_STORED),
    "rows that are one row": (lambda: pth(state(fc_weight=torch.zeros(4).expand(TERA, 4))), NOT_STORED),
    "meta": (lambda: pth(state(fc_weight=torch.zeros(TERA, 4, device="meta"))), NOT_STORED),
    "sparse": (
        lambda: pth(state(fc_weight=torch.sparse_coo_tensor(torch.zeros(2, 0), torch.zeros(0), (1 << 30, 4)))),
        NOT_STORED,
    ),
    "quantized": (
        lambda: pth(state(fc_weight=torch.quantize_per_tensor(torch.zeros(3, 4), 1, 0, torch.qint8))),
        NOT_STORED,
    ),
    "NaN": (
        lambda: pth(state(fc_weight=torch.full((3, 4), torch.nan))),
        "w.pth: fc.weight holds 12 numbers that are not",
    ),
    "infinite": (
        lambda: pth(state(fc_bias=torch.tensor([0, torch.inf, 0]))),
        "w.pth: fc.bias holds 1 numbers that are not",
    ),
    "overflow of half precision": (
        lambda: pth(state(fc_bias=torch.tensor([0, 1e9, 0]).half())),
        "w.pth: fc.bias holds 1 numbers that are not finite",
    ),
    "int8": (lambda: pth(state(fc_weight=torch.ones(3, 4, dtype=torch.int8))), "fc.weight holds torch.int8, not real"),
    "complex": (
        lambda: pth(state(fc_bias=torch.ones(3, dtype=torch.complex64))),
        "fc.bias holds torch.complex64, not real",
    ),
    "a shape": (lambda: pth(state(fc_weight=torch.ones(4, 3))), "of another shape: fc.weight is 4 x 3, not 3 x 4"),
    "no axis": (lambda: pth(state(fc_weight=torch.ones(()))), "of another shape: fc.weight is a scalar, not 3 x 4"),
    "names": (lambda: pth({"a\nb" * 1000: torch.ones(3)}), "does not fit net.py:Net: missing in the file"),
}


@pytest.mark.parametrize(("make", "sentence"), FILES.values(), ids=FILES)
def test_a_hostile_file(net: str, make: Callable[[], bytes], sentence: str) -> None:
    Path("w.pth").write_bytes(make())
    before = {*Path.cwd().iterdir()}
    assert re.search(sentence, refused(net, Path("w.pth")))
    assert {path for path in Path.cwd().iterdir() if path.name != "__pycache__"} == before


def test_attributes_do_not_hide_the_tensors(net: str) -> None:
    torch.save({"state_dict": Hidden(), "epoch": 3}, "w.pth")
    assert load_model(net, "w.pth").classes == 3


def tensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A .safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


UNREADABLE_S = "w.safetensors is not a readable weights file "
SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "a header beyond the file": (tensors({}, length=1 << 30), UNREADABLE_S),
    "a header of GBs": (tensors({}, length=(1 << 64) - 1), UNREADABLE_S),
    "empty": (b"", UNREADABLE_S),
    "cut": (save(state())[:-7], UNREADABLE_S),
    "offsets beyond the file": (tensors({"a": entry([1 << 38], 0, TERA)}), UNREADABLE_S),
    "offsets backwards": (tensors({"a": entry([1], 4, 0)}, bytes(4)), UNREADABLE_S),
    "a shape that is more": (tensors({"a": entry([1 << 62, 1 << 62], 0, 4)}, bytes(4)), UNREADABLE_S),
    "a key twice": (
        tensors(b'{"a":%b,"a":%b}' % (json.dumps(entry([1], 0, 4)).encode(), json.dumps(entry([2], 0, 8)).encode())),
        UNREADABLE_S,
    ),
    "nested": (tensors(b'{"a":' * 100_000), UNREADABLE_S),
    "not JSON": (tensors(b"__import__('os')"), UNREADABLE_S),
    "a dtype": (tensors({"a": entry([1], 0, 4, "F99")}, bytes(4)), UNREADABLE_S),
    "no tensor": (tensors({}), "has no named tensors"),
    "int": (
        save(state(fc_weight=torch.ones(3, 4, dtype=torch.int32))),
        "fc.weight holds torch.int32, not real numbers",
    ),
    "NaN": (save(state(fc_bias=torch.tensor([torch.nan, 0, 0]))), "fc.bias holds 1 numbers that are not finite"),
}


@pytest.mark.parametrize(("content", "sentence"), SAFETENSORS.values(), ids=SAFETENSORS)
def test_hostile_safetensors(net: str, content: bytes, sentence: str) -> None:
    Path("w.safetensors").write_bytes(content)
    assert re.search(sentence, refused(net, Path("w.safetensors")))


def test_eight_bits_are_fine(net: str) -> None:
    save_file(state(fc_weight=torch.full((3, 4), 0.5).to(torch.float8_e4m3fn)), "w.safetensors")
    assert load_model(net, "w.safetensors").network.linear.weight.unique().tolist() == [0.5]


FACTS = json.loads(WeightsMetadata("squeezenet1_1", ("a", "b", "c"), Preprocessing()).to_metadata()["wsol"])
WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "metadata 'wsol' are not those of wsol.train"),
    "nested": ("[" * 100_000, "metadata 'wsol' are not those of wsol.train"),
    "a list": ([], "metadata 'wsol' are not those of wsol.train"),
    "no classes": ({**FACTS, "classes": 7}, "metadata 'wsol' are not those of wsol.train"),
    "classes of numbers": ({**FACTS, "classes": [1, 2, 3]}, "metadata 'wsol' are not those of wsol.train"),
    "no name": ({**FACTS, "architecture": None}, "metadata 'wsol' are not those of wsol.train"),
    "an infinite side": ({**FACTS, "map_size": 1e400}, "metadata 'wsol' are not those of wsol.train"),
    "no size": (
        {**FACTS, "preprocessing": {**FACTS["preprocessing"], "size": 0}},
        "metadata 'wsol' are not those of wsol.train",
    ),
    "a size of text": (
        {**FACTS, "preprocessing": {**FACTS["preprocessing"], "size": "64"}},
        "metadata 'wsol' are not those of wsol.train",
    ),
    "a size of petabytes": (
        {**FACTS, "preprocessing": {**FACTS["preprocessing"], "size": 10**9}},
        "metadata 'wsol' are not those of wsol.train",
    ),
    "a size that is true": (
        {**FACTS, "preprocessing": {**FACTS["preprocessing"], "size": True}},
        "metadata 'wsol' are not those of wsol.train",
    ),
    "no preprocessing": ({**FACTS, "preprocessing": [1, 2]}, "metadata 'wsol' are not those of wsol.train"),
    "a recipe with NaN": ({**FACTS, "recipe": {"x": [float("nan")]}}, "metadata 'wsol' are not those of wsol.train"),
    "a recipe of half a character": (
        {**FACTS, "recipe": {"x": "\ud800"}},
        "metadata 'wsol' are not those of wsol.train",
    ),
    "a recipe": ({**FACTS, "recipe": "x"}, "metadata 'wsol' are not those of wsol.train"),
    "no deviation": (
        {**FACTS, "preprocessing": {"mean": [0, 0, 0], "std": [1, 0, 1]}},
        "metadata 'wsol' are not those of wsol.train",
    ),
    "NaN": (
        {**FACTS, "preprocessing": {"mean": [float("nan"), 0, 0], "std": [1, 1, 1]}},
        "metadata 'wsol' are not those of wsol.train",
    ),
    "unknown": ({**FACTS, "architecture": "x" * 5000}, "unknown model 'xxx"),
    "a file that would be run": (
        {**FACTS, "architecture": "harm.py:make"},
        "w.safetensors was trained as 'harm.py:make', which would be run; give --model if you trust it",
    ),
}


@pytest.mark.parametrize(("facts", "sentence"), WRONG.values(), ids=WRONG)
def test_facts_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: Any, sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("harm.py").write_text("import pathlib\npathlib.Path('harm').touch()\n")
    save_file(state(), "w.safetensors", {"wsol": facts if isinstance(facts, str) else json.dumps(facts)})
    assert re.search(sentence, refused(None, Path("w.safetensors")))
    assert not Path("harm").exists()


def test_training_starts_from_no_broken_weights(net: str) -> None:
    torch.save(state(fc_weight=torch.full((3, 4), torch.nan)), "w.pth")
    network = load_model(net).network
    with pytest.raises(InputError, match=r"w\.pth: fc\.weight holds 12 numbers that are not finite"):
        load_matching(_plain(network), net, "w.pth")


def _plain(_: nn.Module) -> nn.Module:
    scope: dict[str, Any] = {}
    exec(NET, scope)
    network: nn.Module = scope["Net"]()
    return network


def caffe(change: Callable[[Any], object] = lambda net: None) -> bytes:
    """Data, a convolution, a pooling over the map, a linear layer, softmax."""
    net = build_net_class()()
    net.layer.add(name=b"data", type=b"Data", top=[b"data"])
    conv = net.layer.add(name=b"c", type=b"Convolution", bottom=[b"data"], top=[b"c"])
    conv.convolution_param.num_output = 4
    conv.convolution_param.kernel_size.append(8)
    conv.convolution_param.stride.append(8)
    fill(conv, (4, 3, 8, 8), (4,))
    pool = net.layer.add(name=b"p", type=b"Pooling", bottom=[b"c"], top=[b"p"])
    pool.pooling_param.pool = 1
    pool.pooling_param.kernel_size.append(28)
    head = net.layer.add(name=b"f", type=b"InnerProduct", bottom=[b"p"], top=[b"f"])
    head.inner_product_param.num_output = 3
    fill(head, (3, 4), (3,))
    net.layer.add(name=b"s", type=b"Softmax", bottom=[b"f"], top=[b"s"])
    change(net)
    return bytes(net.SerializeToString())


def fill(layer: Any, *shapes: tuple[int, ...], value: float = 0.1) -> None:
    del layer.blobs[:]
    for shape in shapes:
        blob = layer.blobs.add(data=[np.full(shape, value, "<f4").tobytes()])
        blob.shape.dim.extend(shape)


def promise(net: Any) -> None:
    net.layer[1].convolution_param.num_output = 1 << 31
    net.layer[1].blobs[0].shape.dim[0] = 1 << 31


def dimensions(net: Any) -> None:
    net.layer[1].blobs[0].shape.dim.extend([7] * 100_000)


def doubling(net: Any) -> None:
    """Thirty layers that each put a map beside itself: 4 channels become four billion."""
    layers = [net.layer[0], net.layer[1]]
    for i in range(30):
        previous = layers[-1].top[0]
        layers.append(
            type(net)().layer.add(name=b"d", type=b"Concat", bottom=[previous, previous], top=[f"d{i}".encode()])
        )
    del net.layer[:]
    net.layer.extend(layers)


def borders(net: Any) -> None:
    net.layer[1].convolution_param.pad.append(1 << 30)


def wide(net: Any) -> None:
    net.layer[1].convolution_param.num_output = 30_000
    net.layer[1].convolution_param.kernel_size[0] = net.layer[1].convolution_param.stride[0] = 1
    fill(net.layer[1], (30_000, 3, 1, 1), (30_000,))
    fill(net.layer[3], (3, 30_000), (3,))


def neighbors(net: Any) -> None:
    net.layer[2].type = b"LRN"
    net.layer[2].lrn_param.local_size = (1 << 31) + 1


CAFFE: dict[str, tuple[bytes, str]] = {
    "random": (np.random.default_rng(0).bytes(5000), "w.caffemodel is not a .caffemodel file"),
    "empty": (b"", "w.caffemodel is not a .caffemodel file: it has no layers with weights"),
    "cut": (caffe()[:-100], "w.caffemodel is not a .caffemodel file, or only part of one"),
    "a length that lies": (b"\xa2\x06\xff\xff\xff\xff\x0f" + caffe(), "w.caffemodel is not a .caffemodel file"),
    "nested groups": (b"\x0b" * 100_000, "w.caffemodel is not a .caffemodel file"),
    "many layers": (caffe(lambda net: [net.layer.add() for _ in range(10_001)]), "has 10006 layers"),
    "promised channels": (caffe(promise), r"has 768 weights of shape \(2147483648, 3, 8, 8\)"),
    "promised axes": (caffe(dimensions), r"has 768 weights of shape \(4, 3, 8, 8, 7, 7, 7, 7\) where"),
    "NaN": (caffe(lambda net: fill(net.layer[3], (3, 4), (3,), value=np.nan)), "holds 12 numbers that are not finite"),
    "channels that double": (caffe(doubling), r"its layers compute .*e\+\d+ numbers per image"),
    "borders": (caffe(borders), r"has pad \[1073741824\], which must be one or two numbers from 0 to 1024"),
    "a wide layer": (caffe(wide), r"its layers compute [23]e\+09 numbers per image"),
    "neighbors": (caffe(neighbors), "has local_size 2147483649, which must be odd and at most 1024"),
    "a long name": (caffe(lambda net: setattr(net.layer[1], "type", b"x" * 9999)), "of type 'xxx"),
    "no text": (
        caffe(lambda net: setattr(net.layer[1], "name", b"\xff\xfe")),
        "w.caffemodel is not a .caffemodel file",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), CAFFE.values(), ids=CAFFE)
def test_hostile_caffe(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "w.caffemodel").write_bytes(content)
    assert re.search(sentence, refused("vgg16", tmp_path / "w.caffemodel"))


def test_the_caffe_network_itself_is_fine(tmp_path: Path) -> None:
    (tmp_path / "w.caffemodel").write_bytes(caffe())
    network = read_caffemodel(tmp_path / "w.caffemodel").network
    assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.caffemodel"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / name)
    assert re.search("there is no weights file|it is a", refused("resnet18", tmp_path / name))


@pytest.mark.parametrize("kind", ["system", "NaN", "one number, a trillion times"])
def test_the_command(
    net: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    make, sentence = FILES[kind]
    Path("w.pth").write_bytes(make())
    load_model(net)  # Python keeps its bytes
    argv = ["--model", net, "--weights", "w.pth", "--limit", 1, "--device", "cpu"]
    said = refusal(main, [*argv, "--out", tmp_path_factory.mktemp("out") / "run"], tmp_path, capfd)
    assert re.search(sentence, said)
