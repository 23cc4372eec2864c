"""Stored runs that somebody else may have written: broken in every file and entry, a sentence each."""

import contextlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import refusal
from torch import nn

import wsol
from wsol.compare import main as compare_main
from wsol.comparison.files import claim_comparison
from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.leaderboard import main as leaderboard_main
from wsol.leaderboards.verify import verify_checksums
from wsol.models import Model, Preprocessing, find_gap
from wsol.reports.page import render_run_page
from wsol.runs.checksums import add_checksums, changed_files
from wsol.runs.metadata import read_metadata
from wsol.runs.read import read_run
from wsol.score import main as score_main

pytestmark = pytest.mark.slow

PROTOCOL = "wsolevaluation:step=0.05"


class Net(nn.Module):
    """A convolution, global average pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 8, 16, 16), nn.Linear(8, 12)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.stem(images).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three images with a validation split, raw maps, masks and metrics of attributions."""
    torch.manual_seed(0)
    model = Model("tiny", find_gap(Net().eval(), "tiny"), Preprocessing(), "random", "0" * 64, 12)
    folder = tmp_path_factory.mktemp("whole") / "run"
    wsol.evaluate(model, limit=3, tau="val", protocol=PROTOCOL, device="cpu", out=folder, attribution=True)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "runs" / "run"))


def refused(run: Path) -> str:
    """Returns what reading a run says, having held the other ways in against it."""
    verify_checksums(run)
    with pytest.raises(InputError) as caught:
        read_run(run)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence


def altered(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(path)).to_parquet(path)


ARRAYS = ("curves", "curves_v2", "peaks", "attribution", "pixels", "boxes", "maps")
TABLES = ("metrics", "classes", "groups", "errors", "baselines")
FILES = [
    *(f"{name}.npy" for name in ARRAYS),
    *(f"{name}.csv" for name in TABLES),
    "predictions.parquet",
    "ground_truth.parquet",
]
NEEDED = {"curves.npy", "run.json", *FILES} - {f"{name}.npy" for name in ARRAYS[1:]}


@pytest.mark.parametrize("name", ["run.json", *FILES])
def test_a_file_that_is_broken(run: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    path = run / name
    content = path.read_bytes()
    half = content[: len(content) // 2]
    if name.endswith(".csv"):
        half = half[: half.rfind(b"\n") + 1]  # whole lines
    for broken in (
        half,
        b"",
        b"no run at all",
        pickle.dumps(Harm()),
        (run / ("ground_truth.parquet" if name.startswith("curves") else "curves.npy")).read_bytes(),
    ):
        path.write_bytes(broken)
        if name.endswith(".csv") and broken == half and content.count(b"\n") > 4:
            assert f"({name} was changed)" in refused(run)  # fewer lines are a table too
            continue
        assert f"{run} is not a run of this version (" in refused(run)
    assert not Path("harm").exists()
    path.unlink()
    if name in NEEDED:
        assert f"{path} is missing: {run} is no complete run; evaluate again" in refused(run)
    os.mkfifo(path)
    assert "cannot be read: it is a pipe" in refused(run)


class Harm:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("harm"),)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_kind(run: Path, name: str) -> None:
    path = run / f"{name}.npy"
    array = np.load(path)
    for other in (array[:2], array[..., None], array.astype(">f8"), array.astype("U3"), np.array({}), np.zeros(0)):
        np.save(path, other, allow_pickle=True)
        assert re.search("do not belong together|not that of an array of plain numbers", refused(run))
    for shape in ((1 << 40, 1 << 20), (3, -1), (3, 10**17)):
        path.write_bytes(promised(str(array.dtype.str), shape))
        assert f"({name}.npy: it" in refused(run)
        with pytest.raises(InputError):
            wsol.score(run=run, protocol=PROTOCOL) if name == "maps" else read_run(run)


def promised(descr: str, shape: tuple[int, ...]) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def test_curves_that_are_no_overlap(run: Path) -> None:
    curves = np.load(run / "curves.npy")
    for value in (np.nan, -0.1, 1.5, np.inf):
        np.save(run / "curves.npy", np.where(curves == curves.max(), np.float32(value), curves))
        assert "its files do not belong together" in refused(run)


HOSTILE: list[Any] = [None, True, 7, -1, 1.5, float("nan"), 1e400, "x" * 10_000, "a\nb|c", [], {}, [[]], {"a": [1]}]


def entries(facts: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every entry, of a list the first alone."""
    for key in [*facts] if isinstance(facts, dict) else range(min(1, len(facts))):
        yield (*path, key)
        if isinstance(facts[key], dict | list):
            yield from entries(facts[key], (*path, key))


def test_every_entry_of_every_type(run: Path) -> None:
    """Whatever stands anywhere in ``run.json``: it is refused in a sentence, or read."""
    facts = json.loads((run / "run.json").read_text())
    facts["dataset"]["classes"] = facts["dataset"]["classes"][:12]
    said, taken = [], []
    for place in entries(facts):
        for value in HOSTILE:
            changed = json.loads(json.dumps(facts))
            holder = changed
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = value
            (run / "run.json").write_text(json.dumps(changed))
            try:
                read_metadata(run)
                taken.append(changed)
            except ValueError as error:
                said.append(str(error))
    assert len(said) > len(taken) > 100
    assert all(re.match("run.json|'.* is no signature", each) and len(each) < 500 for each in said)
    for changed in taken[::60]:  # a whole run takes its time
        (run / "run.json").write_text(json.dumps(changed))
        sealed = add_checksums(read_metadata(run), run, facts["checksums"])
        (run / "run.json").write_text(json.dumps(asdict(sealed)))
        with contextlib.suppress(InputError):
            render_run_page(read_run(run))


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a protocol": (
        lambda facts: facts.update(protocol="exact:levels=7"),
        "files do not belong together",
    ),
    "a size": (lambda facts: facts.update(protocol="wsolevaluation:size=99999"), "size from 2 to 4096"),
    "a view": (lambda facts: facts["provenance"]["view"].update(side=10**9), "the view is not that of the protocol"),
    "images": (
        lambda facts: facts["dataset"].update(n=4),
        "ground_truth.parquet has 3 images, but run.json says otherwise",
    ),
    "classes": (lambda facts: facts["dataset"].update(classes=["a"]), "outside 0 to 0"),
    "a split": (lambda facts: facts["dataset"].update(split="../val"), "run.json says otherwise"),
    "a print": (lambda facts: facts["dataset"].update(fingerprint="0" * 64), "its files do not belong together"),
    "stations": (lambda facts: facts.update(signature="a|b\n" * 1000), "is no signature: it should have 6 fields"),
    "a tau": (lambda facts: facts["tau"].update(value=float("nan")), r"run.json: tau(: value has a wrong type| is)"),
    "a large tau": (lambda facts: facts["tau"].update(value=2), r"run.json: tau is outside \[0, 1\]"),
    "a rule": (lambda facts: facts["tau"].update(rule="<script>"), "run.json: tau: rule has a wrong type"),
    "a cost": (lambda facts: facts.update(cost={"ms_per_image": "x"}), "run.json: cost has a wrong type"),
    "a recipe": (lambda facts: facts["provenance"]["network"].update(recipe="x"), "network has a wrong type"),
    "a recipe with NaN": (
        lambda facts: facts["provenance"]["network"].update(recipe={"x": [{"y": float("nan")}]}),
        "network has a wrong type",
    ),
    "notes": (lambda facts: facts.update(notes="x"), "run.json: notes has a wrong type"),
    "nothing": (lambda facts: facts.clear(), "run.json lacks signature"),
}


@pytest.mark.parametrize(("lie", "sentence"), LIES.values(), ids=LIES)
def test_facts_that_lie(run: Path, lie: Callable[[dict[str, Any]], object], sentence: str) -> None:
    facts = json.loads((run / "run.json").read_text())
    lie(facts)
    (run / "run.json").write_text(json.dumps(facts))
    assert re.search(sentence, refused(run))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "[]", "null", "\ufeff{}", "{]"])
def test_facts_that_are_none(run: Path, text: str) -> None:
    (run / "run.json").write_text(text)
    assert f"{run} is not a run of this version (" in refused(run)


TRUTH: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "a column less": (lambda table: table.drop(columns="corners"), "ground_truth.parquet lacks the columns corners"),
    "no row": (lambda table: table.head(0), "ground_truth.parquet: there is no image"),
    "an image twice": (lambda table: pd.concat([table, table.head(1)]), "is listed twice|says otherwise"),
    "numbers as names": (lambda table: table.assign(image_id=range(len(table))), "an image has no name"),
    "control characters": (lambda table: table.assign(image_id=table.image_id + "\x1b[2J"), "cannot be printed"),
    "labels of text": (lambda table: table.assign(label="cat"), "a label is not an integer"),
    "a label beyond the classes": (
        lambda table: table.assign(label=1 << 40),
        "has label 1099511627776, outside 0 to 11",
    ),
    "other corners": (lambda table: table.assign(corners="round"), "a corner convention is unknown"),
    "NaN": (lambda table: table.assign(x0=np.nan), "has an empty, inverted or non-finite box"),
    "inverted": (lambda table: table.assign(x0=table.x1 + 9), "has an empty, inverted or non-finite box"),
    "terapixels": (lambda table: table.assign(width=1 << 40), "a size is not the size of an image"),
    "no size": (lambda table: table.assign(height=-1), "a size is not the size of an image"),
    "text as size": (lambda table: table.assign(height="9"), "a size is not the size of an image"),
    "half": (lambda table: table.assign(height=224.5), "a size is not the size of an image"),
    "published": (lambda table: table.assign(published="yes"), "it does not say which sizes were published"),
}


@pytest.mark.parametrize(("change", "sentence"), TRUTH.values(), ids=TRUTH)
def test_truth_that_is_none(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str) -> None:
    altered(run / "ground_truth.parquet", change)
    assert re.search(sentence, refused(run))


GUESSES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no row": lambda table: table.head(0),
    "a row less": lambda table: table.head(len(table) - 1),
    "other images": lambda table: table.assign(image_id="x"),
    "ranks": lambda table: table.assign(rank=0),
    "labels": lambda table: table.assign(label=table.label + 1),
    "classes of text": lambda table: table.assign(class_id="cat"),
    "classes between": lambda table: table.assign(class_id=0.5),
    "infinite": lambda table: table.assign(x0=np.inf),
    "boxes of text": lambda table: table.assign(x0="left"),
    "errors of numbers": lambda table: table.assign(error=7),
    "a column less": lambda table: table.drop(columns="iou"),
}


@pytest.mark.parametrize("change", GUESSES.values(), ids=GUESSES)
def test_guesses_that_are_none(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    altered(run / "predictions.parquet", change)
    assert re.search(
        "predictions.parquet (does not hold predictions|lacks the columns iou)|ValueError|could not", refused(run)
    )


def test_rows_that_cost_nothing(run: Path) -> None:
    """A column of one value takes a few bytes, however many rows it promises."""
    table = pd.read_parquet(run / "ground_truth.parquet")
    table.loc[table.index[:1].repeat(500_000)].to_parquet(run / "ground_truth.parquet", row_group_size=500_000)
    assert (run / "ground_truth.parquet").stat().st_size < 100_000
    assert "ground_truth.parquet declares 500000 rows, more than it has bytes" in refused(run)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("metrics", lambda text: text.replace("metric,", "metre,", 1), "metrics.csv has other columns than metric"),
        (
            "metrics",
            lambda text: text.replace("gt_known_loc_acc", "<script>"),
            "metrics.csv has the metric '<script>', which no",
        ),
        ("metrics", lambda text: text.replace("oracle", "guess"), "metrics.csv has an unknown rule of tau"),
        (
            "groups",
            lambda text: re.sub(r"(,oracle,[^,]*),[^,]*", r"\1,many", text),
            "groups.csv: the column value is not numeric",
        ),
        ("errors", lambda text: re.sub("class,.", "class,x", text, count=1), "errors.csv: the column n is not numeric"),
        ("errors", lambda text: text.replace("class,", "klass,", 1), "errors.csv has an unknown error type"),
        ("classes", lambda text: "\n" + text.partition("\n")[2], "classes.csv has other columns"),
    ],
)
def test_tables_that_are_none(run: Path, name: str, change: Callable[[str], str], sentence: str) -> None:
    path = run / f"{name}.csv"
    path.write_text(change(path.read_text()))
    assert sentence in refused(run)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "val/../../secret", "..", "..\\secret", "C:secret", "thumbnails/x"]
)
def test_a_checksum_reads_nothing_outside(run: Path, name: str) -> None:
    os.mkfifo(run.parent / "secret")  # whoever opened it would wait
    metadata = read_metadata(run)
    metadata = replace(metadata, checksums={**metadata.checksums, name: "0" * 64})
    assert f"{name!r} is no file of a run" in changed_files(metadata, run)


def test_pictures_that_lead_out(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    picture = next((run / "thumbnails").rglob("*.jpg"))
    picture.unlink()
    picture.symlink_to(tmp_path / "secret")
    assert f"/{picture.name} is no file but a link or a pipe" in refused(run)
    with pytest.raises(InputError, match="is no file but a link or a pipe"):
        wsol.score(run=run, protocol=PROTOCOL, out=tmp_path / "again")
    assert not (tmp_path / "again").exists() or not [*(tmp_path / "again").rglob("*.jpg")]
    shutil.rmtree(run / "thumbnails")
    (run / "thumbnails").symlink_to(tmp_path)
    assert "thumbnails is a link" in refused(run)


def test_a_validation_split_of_itself(run: Path) -> None:
    shutil.rmtree(run / "val")
    (run / "val").symlink_to(run)
    assert "(val/run.json was changed)" in refused(run)
    assert verify_checksums(run)


class Elements(HTMLParser):
    """Counts what a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]


ODD = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<!-- <script>")


@pytest.mark.parametrize("odd", [True, False])
def test_pages_of_names_that_are_code(tmp_path: Path, odd: bool) -> None:
    names = ODD if odd else ("a", "b", "c")
    box = as_boxes([[2, 3, 20, 30]])
    samples = tuple(Sample(f"{i}{name}", i, box, "edges", size=(32, 32)) for i, name in enumerate(names))
    images = Dataset(f"made{names[0]}", "test", samples, names)
    for name in ("center-box", "full-image"):
        wsol.score(baseline=name, dataset=images, protocol=PROTOCOL, out=tmp_path / name)
    wsol.compare([tmp_path / "center-box", tmp_path / "full-image"], out=tmp_path / "both")
    for folder in ("center-box", "both"):
        tags = Elements((tmp_path / folder / "report.html").read_text()).tags
        assert tags.count("script") == (tmp_path / folder / "report.html").read_text().count("<script")
        assert "img" not in tags or not odd or folder == "both"


def test_an_earlier_comparison_that_is_none(tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"a\n1\n", b'"', bytes(99)):
        (tmp_path / "runs.csv").write_bytes(content)
        with pytest.raises(InputError, match=r"runs\.csv cannot be read .*give another --out|comparison of other runs"):
            claim_comparison(tmp_path, ["a"])


COMMANDS = {
    "score": (score_main, ["--run", "RUN"], "curves.npy", "is not a run of this version"),
    "compare": (compare_main, ["RUN", "OTHER"], "curves.npy", "is not a run of this version"),
    "compare maps": (compare_main, ["OTHER", "RUN"], "maps.npy", "is not a run of this version"),
    "leaderboard": (
        leaderboard_main,
        ["RUN"],
        "ground_truth.parquet",
        "RUN contains no complete run; .: .*is not a run of",
    ),
    "validate": (leaderboard_main, ["RUN", "--validate"], "curves.npy", "no leaderboard is written"),
}


@pytest.mark.parametrize(("main", "argv", "name", "sentence"), COMMANDS.values(), ids=COMMANDS)
def test_the_commands(
    whole: Path, run: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str], main: Any, argv: list[str], name: str, sentence: str,
) -> None:  # fmt: skip
    broken = "maps.npy" if argv[0] == "--run" else name
    (run / broken).write_bytes(promised("<f4", (1 << 40,)))
    given = [{"RUN": run, "OTHER": whole}.get(word, word) for word in argv]
    out = tmp_path_factory.mktemp("out") / "out"
    if "--validate" in argv:
        assert main([*map(str, given), "--out", str(out)]) == 2
        said = capfd.readouterr().err
        assert "Traceback" not in said
    else:
        said = refusal(main, [*given, "--out", out], tmp_path, capfd)
    assert re.search(sentence.replace("RUN", re.escape(str(run))), said)
    assert not out.exists()
