"""Fuzz the readers of maps, boxes, weights, runs, tables and settings.

    python benchmarks/fuzz_files.py --minutes 5 [--seed 0] [--readers npy run] [--keep DIR]

Valid files are written and read first: maps, boxes, weights, a stored run, published numbers, settings. Each case
damages one of them (bytes changed, removed or inserted; wrong lengths; exchanged entries of JSON, cells of tables and
opcodes of pickles) and passes it to its reader, in a child process with five seconds per case and 4 GiB of address
space in addition to those at its start. The reader may succeed, or raise one InputError with one line. Everything else
is a finding: another exception, a crash, a hang, a file that appeared or changed anywhere else. The exit code is 1 if
there are any.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import io
import itertools
import json
import os
import pickle
import pickletools
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn

import wsol
from wsol.comparison.files import claim_comparison
from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.evaluation.sources.boxes import score_boxes
from wsol.evaluation.sources.maps import score_maps
from wsol.evaluation.sources.run import score_run
from wsol.leaderboards.published import read_published
from wsol.leaderboards.rows import build_row
from wsol.leaderboards.stale import find_stale
from wsol.leaderboards.verify import verify_checksums
from wsol.models import MODELS, Model, Preprocessing, WeightsMetadata, find_classifier, find_gap, load_model
from wsol.models._caffe_format import build_net_class
from wsol.models.base import Architecture, PublishedWeights
from wsol.models.caffe import read_caffemodel
from wsol.protocols import find_protocol
from wsol.reports.page import render_run_page
from wsol.runs.read import read_run
from wsol.runs.signature import Signature
from wsol.runtime.cost import Clock

SECONDS = 5  # limit of a case
MEMORY = 4 << 30  # bytes of address space in addition to those at the start of a child process
BATCH = 40  # cases per child process
PROTOCOL = find_protocol("wsolevaluation:step=0.05,size=32")

HOSTILE: list[Any] = [
    *(None, True, -1, 0, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 2**64, 10**30, 1 << 40, "", "x" * 5000),
    *(
        [],
        {},
        [[]],
        "../../outside",
        "/etc/passwd",
        "a\nb",
        "a|b",
        "</script>",
        "\ud800",
        "\x00",
        "١٢",
        "1e400",
        [1] * 50,
    ),
]
TOKENS = [
    *(
        b"'descr': '|O'",
        b"(999999999999, 9)",
        b"(-1,)",
        b"'<f8'",
        b"True",
        b"\x93NUMPY\x03\x00",
        b"[" * 3000,
        b"{" * 3000,
    ),
    *(
        b"nan",
        b"1e400",
        b"9" * 5000,
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\n",
        b'"',
        b",",
        b"\r",
        b"null",
        b'{"a":',
    ),
    *(
        b"cos\nsystem\n(S'touch harm'\ntR.",
        b"\x80\x02",
        b"cbuiltins\nbytearray\n",
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PAR1",
    ),
    *(
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x3a\x80\x80\x80\x80\x08",
        b"(" * 500,
        b"-" * 3000,
        b"}",
        b"]",
        b"|",
        b".",
        b"../",
    ),
]


class Net(nn.Module):
    """Two convolutions, global average pooling, a linear layer."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem, self.last, self.fc = nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 6, 3, 2, 1), nn.Linear(6, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.fc(self.last(self.stem(images).relu()).relu().mean((2, 3)))


@MODELS.register("fuzzed")
class _Fuzzed(Architecture):
    @staticmethod
    def build(state: dict[str, Tensor], published: PublishedWeights | None, map_size: int | None = None) -> nn.Module:
        head = state.get("fc.weight", torch.empty(3, 6))
        return Net(len(head) if head.dim() else 3)

    build_for_training = build

    @staticmethod
    def published_weights() -> tuple[PublishedWeights, ...]:
        return ()

    preprocessing = staticmethod(Preprocessing)


def main() -> int:
    """Run cases until the time is over; print the number of cases per reader and the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="duration (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases (default: %(default)s)")
    parser.add_argument(
        "--readers", nargs="+", choices=READERS, default=[*READERS], help="readers to run (default: all)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder that the files of findings are copied to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as top:
        seeds, outside, here = (Path(top) / name for name in ("seeds", "outside", "here"))
        for folder in (seeds, outside, here):
            folder.mkdir()
        (outside / "canary").write_text("alive")
        os.chdir(here)
        write_seeds(seeds)
        for files, read in READERS.values():  # undamaged
            shutil.copytree(seeds / files, Path(top) / "case")
            read(Path(top) / "case")
            shutil.rmtree(Path(top) / "case")
        before = snapshot(outside, here, seeds)
        end = time.monotonic() + 60 * options.minutes
        batch = 0
        while time.monotonic() < end:
            reader = options.readers[batch % len(options.readers)]
            cases = [f"{options.seed}/{reader}/{batch * BATCH + i}" for i in range(BATCH)]
            while cases:
                done = run_in_child(reader, cases, seeds, Path(top) / "case", options.keep)
                for case, verdict in done:
                    counts[reader] += 1
                    refused[reader] += verdict == "refused"
                    if verdict not in ("read", "refused"):
                        findings[f"{reader}: {verdict}"] += 1
                        print(f"{case}: {verdict}", flush=True)
                cases = cases[len(done) :]
            if (after := snapshot(outside, here, seeds)) != before:
                findings[f"{reader}: another file was touched"] += 1
                print(f"{reader}, batch {batch}: {set(after.items()) ^ set(before.items())}", flush=True)
                before = after
            batch += 1
    for reader in options.readers:
        print(f"{reader:12} {counts[reader]:7} cases, {refused[reader]:7} refused")
    print(f"{counts.total()} cases, {findings.total()} findings of {len(findings)} kinds")
    for finding, count in findings.most_common():
        print(f"{count:6} {finding}")
    return 1 if findings else 0


def run_in_child(reader: str, cases: list[str], seeds: Path, folder: Path, keep: Path | None) -> list[tuple[str, str]]:
    """Run cases in a child process; return those that ran with their verdicts, a case that killed it included."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with contextlib.suppress(BaseException), os.fdopen(writing, "w", buffering=1) as output:
            run_cases(reader, cases, seeds, folder, keep, output)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    status = os.waitpid(child, 0)[1]
    done = [(case, json.loads(line)) for case, line in zip(cases, lines, strict=False)]
    if len(done) < len(cases) and (status or not done):
        done.append((cases[len(done)], f"the process died (status {status})"))
    return done


def run_cases(reader: str, cases: list[str], seeds: Path, folder: Path, keep: Path | None, output: Any) -> None:
    """Run cases and write one verdict per line."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    faulthandler.disable()
    signal.signal(signal.SIGALRM, _raise_hang)
    files, read = READERS[reader]
    for case in cases:
        rng = random.Random(case)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seeds / files, folder)
        broken = rng.choice(
            sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".png", ".jpg"))
        )
        with contextlib.suppress(RecursionError, UnicodeError, OverflowError):  # from the mutation itself
            broken.write_bytes(mutate(rng, broken))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            read(folder)
            verdict = "read"
        except InputError as error:
            verdict = "refused" if "\n" not in str(error) else f"several lines: {str(error)[:300]!r}"
        except BaseException as error:  # any exception is a finding
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "wsol" in f.filename]
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            verdict = f"{type(error).__name__} at {where}: {str(error)[:160]}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        if verdict not in ("read", "refused") and keep:
            shutil.copytree(folder, keep / case.replace("/", "-"), dirs_exist_ok=True)
        output.write(json.dumps(verdict) + "\n")


class Hang(BaseException):
    """A case took too long."""


def _raise_hang(*_: object) -> None:
    raise Hang


def snapshot(*folders: Path) -> dict[str, str]:
    """Return the digest of every file."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def mutate(rng: random.Random, path: Path) -> bytes:
    """Return the damaged content of a file; half of the time the file remains valid in its format."""
    content = path.read_bytes()
    structured = {
        ".npz": _mutate_zip,
        ".pth": _mutate_zip,
        ".json": _mutate_json,
        ".csv": _mutate_csv,
        ".safetensors": _mutate_safetensors,
    }
    structured |= {".npy": _mutate_npy, ".parquet": _mutate_parquet, ".caffemodel": _mutate_caffe, ".txt": _mutate_csv}
    if rng.random() < 0.5 and path.suffix in structured:
        with contextlib.suppress(ValueError, TypeError, KeyError, IndexError, zipfile.BadZipFile, pickle.PickleError):
            return structured[path.suffix](rng, content)
    return _mutate_bytes(rng, content)


def _mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    out = bytearray(content)
    near = len(out) if rng.random() < 0.4 else min(len(out), 600)  # headers are at the start, and often at the end
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(near + 1) if rng.random() < 0.8 else max(0, len(out) - rng.randrange(200))
        match rng.randrange(6):
            case 0:
                del out[at:]
            case 1:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                out[at:at] = rng.choice(TOKENS)
            case 3:
                width = rng.choice((2, 4, 8))
                value = rng.choice(
                    (0, 1, 127, 255, 1 << 15, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
                )
                out[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, rng.choice(("little", "big")))
            case 4:
                del out[at : at + rng.choice((1, 2, 8, 100))]
            case 5:
                token = rng.choice(TOKENS)
                out[at : at + len(token)] = token
    return bytes(out)


def _mutate_zip(rng: random.Random, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([name for name in members if name.endswith((".npy", ".pkl"))] or [*members])
    mutate_member = (
        {"npy": _mutate_npy, "pkl": _mutate_pickle}.get(name.rpartition(".")[2], _mutate_bytes)
        if rng.random() < 0.6
        else _mutate_bytes
    )
    members[name] = mutate_member(rng, members[name])
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for member, data in members.items():
            archive.writestr(rng.choice(("../x", "/x", "x" * 250)) if rng.random() < 0.03 else member, data)
    return out.getvalue()


def _mutate_pickle(rng: random.Random, content: bytes) -> bytes:
    """Replace numbers: sizes, strides, offsets, lengths."""
    ops = [(op.name, at) for op, _, at in pickletools.genops(content)]
    numbers = [(at, after) for (name, at), (_, after) in itertools.pairwise(ops) if "INT" in name and "PUT" not in name]
    for at, after in sorted(rng.sample(numbers, rng.choice((1, 1, 2, 4))), reverse=True):
        value = rng.choice((-1, 0, 1, 2, 7, 255, 1 << 20, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1))
        content = content[:at] + b"\x8a\x08" + value.to_bytes(8, "little", signed=True) + content[after:]
    return content


def _mutate_json(rng: random.Random, content: bytes) -> bytes:
    top = [json.loads(content)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        holder: Any = top
        while True:
            key = rng.choice([*holder] if isinstance(holder, dict) else range(len(holder)))
            if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.25:
                break
            holder = holder[key]
        if isinstance(holder, dict) and rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = rng.choice(HOSTILE)
    return json.dumps(top[0]).encode()


def _mutate_csv(rng: random.Random, content: bytes) -> bytes:
    lines = content.decode().split("\n")
    for _ in range(rng.choice((1, 1, 3))):
        i = rng.randrange(len(lines))
        cells = lines[i].split(",")
        cells[rng.randrange(len(cells))] = str(rng.choice(HOSTILE))
        lines[i] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _mutate_npy(rng: random.Random, content: bytes) -> bytes:
    array = np.load(io.BytesIO(content))
    kind = rng.choice(("?", "u1", "i8", ">f4", "f2", "f8", "c8", "U3", "S1", "M8[s]", "f4,i4", "O"))
    shapes = [array.shape[::-1], (), (0,), array.shape[:-1], (*array.shape, 1), (1, *array.shape[1:]), (2**40, 0)]
    change: list[Callable[[], Any]] = [
        lambda: array.astype(kind),
        lambda: np.zeros(rng.choice(shapes), array.dtype),
        lambda: np.asfortranarray(array),
        lambda: np.where(np.arange(array.size).reshape(array.shape) == rng.randrange(array.size), np.nan, array),
        lambda: np.full(array.shape, rng.choice((-1, 2, 1e30, np.inf, 65535))).astype(array.dtype),
    ]
    out = io.BytesIO()
    with np.errstate(all="ignore"):
        np.save(out, rng.choice(change)(), allow_pickle=True)
    return out.getvalue()


def _mutate_parquet(rng: random.Random, content: bytes) -> bytes:
    table = pd.read_parquet(io.BytesIO(content))
    name = rng.choice([*table])
    value = rng.choice(HOSTILE)
    change: list[Callable[[], pd.DataFrame]] = [
        lambda: table.drop(columns=name),
        lambda: table.assign(**{name: value}),
        lambda: table.astype({name: object}).assign(**{name: [value, *table[name][1:]]}),
        lambda: table.sample(frac=rng.choice((0, 0.5, 1)), random_state=rng.randrange(99)),
        lambda: pd.concat([table, table]),
        lambda: table.rename(columns={name: "other"}),
    ]
    out = io.BytesIO()
    try:
        rng.choice(change)().to_parquet(out)
    except Exception as error:  # not representable in a table
        raise ValueError from error
    return out.getvalue()


def _mutate_safetensors(rng: random.Random, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = _mutate_json(rng, content[8 : 8 + length])
    if rng.random() < 0.3:
        entry = json.loads(content[8 : 8 + length])
        facts = _mutate_json(rng, entry["__metadata__"]["wsol"].encode())
        entry["__metadata__"]["wsol"] = facts.decode()
        header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _mutate_caffe(rng: random.Random, content: bytes) -> bytes:
    net = build_net_class().FromString(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        message = rng.choice(net.layer)
        while True:
            field = rng.choice(message.DESCRIPTOR.fields)
            if field.message_type is None:
                break
            child = getattr(message, field.name)
            message = (rng.choice(child) if child else child.add()) if hasattr(child, "add") else child
        value = rng.choice(
            (b"x", b"\xff", b"c", b"Concat", 0, 1, 2, 7, 1023, 1 << 20, (1 << 31) - 1, 1e30, float("nan"), True)
        )
        current = getattr(message, field.name)
        if hasattr(current, "append"):
            current.append(value)
        else:
            setattr(message, field.name, value)
    return bytes(net.SerializeToString())


def write_seeds(folder: Path) -> None:
    """Write valid files, one folder per reader."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for name in ("npy", "npz", "csv", "json", "pth", "legacy", "safetensors", "caffe", "tables", "text"):
        (folder / name).mkdir()
    maps = {f"{i}": rng.random((32, 32), np.float32) for i in range(3)}
    for name, score_map in maps.items():
        np.save(folder / "npy" / f"{name}.npy", score_map)
    np.savez(folder / "npz" / "maps.npz", **maps)
    rows = [f"{i}.jpg,{i},{0.9 - i / 10},2,3,{20 + i},30" for i in range(3)]
    (folder / "csv" / "boxes.csv").write_text("\n".join(["image_id,class_id,score,x0,y0,x1,y1", *rows]) + "\n")
    boxes = [{"image_id": f"{i}.jpg", "category_id": i, "bbox": [2, 3, 20, 25.5], "score": 0.5} for i in range(3)]
    (folder / "json" / "boxes.json").write_text(json.dumps(boxes))
    state = Net().state_dict()
    torch.save({"state_dict": state, "epoch": 3}, folder / "pth" / "w.pth")
    torch.save(state, folder / "legacy" / "w.pth", _use_new_zipfile_serialization=False)
    facts = WeightsMetadata(
        "fuzzed", ("a", "b", "c"), Preprocessing(), None, {"epochs": 3}, {"top1": 0.5}
    ).to_metadata()
    safetensors.torch.save_file(state, folder / "safetensors" / "w.safetensors", facts)
    (folder / "caffe" / "w.caffemodel").write_bytes(_make_caffemodel(rng))
    columns = "source,year,place,dataset,split,n,model,method,metric,tau_rule,tau,protocol,value,note"
    row = '"A, ""B"", 2020",2020,Table 1,synthetic,test,4,VGG,cam,gt_known_loc_acc,fixed,0.2,wsolevaluation,61.5,'
    (folder / "tables" / "published.csv").write_text(f"{columns}\n{row}\n")
    (folder / "tables" / "runs.csv").write_text("run,signature\na,b|c\n")
    (folder / "tables" / "leaderboard.csv").write_text("kind,group,run,n\nmeasured,a|b,r,3\n")
    (folder / "text" / "protocol.txt").write_text("wsolevaluation:step=0.001,delta=0.5,size=224")
    (folder / "text" / "signature.txt").write_text("a-test#3:aa|m:1f|cam|exact:levels=6|tau:0.2|wsol:0.1.0")
    model = Model("fuzzed", find_gap(Net(12).eval(), "fuzzed"), Preprocessing(), "random", "0" * 64, 12)
    wsol.evaluate(model, limit=3, tau="val", protocol="wsolevaluation:step=0.05", device="cpu", out=folder / "run")


def _make_caffemodel(rng: np.random.Generator) -> bytes:
    net = build_net_class()()
    net.layer.add(name=b"data", type=b"Data", top=[b"data"])
    for name, kind, bottom, shape, setting, values in (
        (
            "c",
            "Convolution",
            "data",
            (4, 3, 8, 8),
            "convolution_param",
            {"num_output": 4, "kernel_size": [8], "stride": [8]},
        ),
        ("r", "ReLU", "c", (), "relu_param", {}),
        ("p", "Pooling", "r", (), "pooling_param", {"pool": 1, "kernel_size": [28]}),
        ("f", "InnerProduct", "p", (3, 4), "inner_product_param", {"num_output": 3}),
        ("s", "Softmax", "f", (), "", {}),
    ):
        layer = net.layer.add(name=name.encode(), type=kind.encode(), bottom=[bottom.encode()], top=[name.encode()])
        for key, value in values.items():
            current = getattr(getattr(layer, setting), key)
            current.extend(value) if isinstance(value, list) else setattr(getattr(layer, setting), key, value)
        for dims in [shape, shape[:1]] if shape else ():
            blob = layer.blobs.add(data=[rng.random(int(np.prod(dims)), np.float32).tobytes()])
            blob.shape.dim.extend(dims)
    return bytes(net.SerializeToString())


def _make_dataset() -> Dataset:
    box = as_boxes([[2, 3, 20, 30]])
    samples = tuple(Sample(f"{i}.jpg", i, box, "edges", size=(32, 32)) for i in range(3))
    return Dataset("generated", "test", samples, ("a", "b", "c"))


def _read_sources(path: Path) -> None:
    images = _make_dataset()
    with ThreadPoolExecutor(1) as pool:
        if path.suffix in (".csv", ".json"):
            score_boxes(path, images, images, PROTOCOL, None, False, pool, Clock())
        else:
            score_maps(path, images, images, PROTOCOL, False, False, pool, Clock())


def _read_weights(path: Path) -> None:
    load_model(None if path.suffix == ".safetensors" else "fuzzed", path)


def _read_caffemodel(path: Path) -> None:
    find_classifier(read_caffemodel(path).network, "fuzzed")


def _read_run(folder: Path) -> None:
    problems = verify_checksums(folder)
    assert all(isinstance(problem, str) for problem in problems)
    faults = []
    with ThreadPoolExecutor(1) as pool:
        try:
            score_run(folder, PROTOCOL, pool, Clock())
        except InputError as error:
            faults.append(error)
        run = read_run(folder)
        build_row(run, "run")
        render_run_page(run)
    if faults:
        raise faults[0]


def _read_tables(folder: Path) -> None:
    assert isinstance(find_stale(folder, [], [], {}), list)
    (folder / "leaderboard.csv").unlink()
    published = folder.with_name("case-published")
    shutil.rmtree(published, ignore_errors=True)
    published.mkdir()
    shutil.move(folder / "published.csv", published)
    with contextlib.suppress(InputError):
        read_published(published)
    claim_comparison(folder, ["b|c"])


def _parse_text(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        Signature.parse(text) if path.stem == "signature" else find_protocol(text)


def _first_file(read: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: read(next(iter(sorted(folder.iterdir()))))


READERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "npy": ("npy", _read_sources),
    "npz": ("npz", _first_file(_read_sources)),
    "csv": ("csv", _first_file(_read_sources)),
    "json": ("json", _first_file(_read_sources)),
    "pth": ("pth", _first_file(_read_weights)),
    "legacy": ("legacy", _first_file(_read_weights)),
    "safetensors": ("safetensors", _first_file(_read_weights)),
    "caffe": ("caffe", _first_file(_read_caffemodel)),
    "run": ("run", _read_run),
    "tables": ("tables", _read_tables),
    "text": ("text", _parse_text),
}

if __name__ == "__main__":
    sys.exit(main())
