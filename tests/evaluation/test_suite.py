"""A grid of runs in a file: what is done is skipped, what fails does not stop the others, and both are said."""

import gc
import inspect
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

import wsol
from wsol.errors import InputError
from wsol.eval import main as evaluate
from wsol.evaluation import evaluate as evaluate_module
from wsol.evaluation.config import EvalConfig, options
from wsol.evaluation.suite import format_suite, read_suite, run_suite
from wsol.runs.batches import BatchStore
from wsol.runtime import distributed
from wsol.runtime.distributed import ProcessGroup

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 7, 16, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 7))
"""
Suite = Callable[[str], Path]


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Writes a suite into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("grid.toml").write_text(text)
        return Path("grid.toml")

    return write


@pytest.fixture
def grid(suite: Suite, tmp_path: Path, weights: Path, csv_data: Path) -> Path:
    """Two networks by two methods; cam does not apply to the second, whose linear layer sees four places."""
    tmp_path.joinpath("net.py").write_text(NET)
    return suite(f"""
        device = "cpu"
        limit = 4
        batch_size = 2
        tau = 0.3
        datasets = [{{ dataset = "csv", data_root = "{csv_data}" }}]
        models = [{{ model = "squeezenet1_1", weights = "{weights}" }}, "net.py:make"]
        methods = ["cam", {{ method = "gradcam", tau = "oracle" }}]
    """)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Lets no run compute anything, and says what each was asked for."""
    calls: list[dict[str, Any]] = []

    def note(**arguments: Any) -> Any:
        calls.append(arguments)
        return SimpleNamespace(metrics=pd.DataFrame({"metric": [], "tau_rule": [], "value": []}))

    monkeypatch.setattr(evaluate_module, "evaluate", note)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # which takes a third of a second
    return calls


@pytest.mark.slow
def test_what_fails_is_said_and_what_is_done_is_not_done_again(
    grid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(["--suite", str(grid)]) == 1
    printed = capsys.readouterr()
    reason = "cam cannot be applied: class activation maps need class scores that are linear"
    told = [line for line in printed.err.splitlines() if line.startswith("wsol: ")]
    assert [line.split(", ")[0] for line in told] == [f"wsol: {k} of 4" for k in (1, 2, 3, 4)]
    assert [line for line in told if reason in line] == [told[2]]
    lines = printed.out.splitlines()
    assert lines[-1] == "4 runs in results/grid: 3 new, 0 done before, 1 failed"
    assert [line.split()[0] for line in lines[1:5]] == [
        "csv-test-squeezenet1_1-cam", "csv-test-squeezenet1_1-gradcam",
        "csv-test-net.py-make-cam", "csv-test-net.py-make-gradcam",
    ]  # fmt: skip
    assert f"failed: {reason}" in lines[3]

    folder = Path("results/grid/csv-test-squeezenet1_1-gradcam")
    stored = pd.read_csv(folder / "metrics.csv").set_index(["metric", "tau_rule"])["value"]
    numbers = [("top1_loc_err", "oracle"), ("gt_known_loc_acc", "oracle"), ("max_box_acc", "oracle")]
    assert lines[2].split()[1:] == [*(f"{stored[key]:.3f}" for key in numbers), "new"]
    stored = pd.read_csv(folder.with_name("csv-test-squeezenet1_1-cam") / "metrics.csv")
    stored = stored.set_index(["metric", "tau_rule"])
    assert stored.loc[("gt_known_loc_acc", "fixed"), "tau"] == 0.3
    assert lines[1].split()[2] == f"{stored.loc[('gt_known_loc_acc', 'fixed'), 'value']:.3f}"

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(evaluate_module, "run_batches", never)
    assert evaluate(["--suite", str(grid), "--resume"]) == 1
    again = capsys.readouterr().out.splitlines()
    assert again[-1] == "4 runs in results/grid: 0 new, 3 done before, 1 failed"
    assert again[3] == lines[3]
    assert [line.replace("done before", "new") for line in again[:-1]] == lines[:-1]
    assert evaluate(["--suite", str(grid), "--only", "2/4"]) == 0


@pytest.mark.slow
def test_an_interrupted_suite_goes_on_within_the_run(
    grid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = BatchStore.write, list[int]()

    def one_only(parts: BatchStore, number: int, *batch: Any) -> None:
        if number:
            raise KeyboardInterrupt
        real(parts, number, *batch)

    def note(parts: BatchStore, number: int, *batch: Any) -> None:
        written.append(number)
        real(parts, number, *batch)

    monkeypatch.setattr(BatchStore, "write", one_only)
    call = ["--suite", str(grid), "--only", "1/4"]
    assert evaluate(call) == 130
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(BatchStore, "write", note)
    assert evaluate(call) == 0
    assert written == [1]
    assert capsys.readouterr().out.splitlines()[-1] == "1 runs in results/grid: 1 new, 0 done before, 0 failed"


def test_the_nearer_table_holds_and_runs_have_an_order(suite: Suite) -> None:
    runs = read_suite(
        suite("""
        out = "here"
        batch_size = 1
        limit = 9
        datasets = ["synthetic", { dataset = "cub", split = "val", batch_size = 2, dataset_args = { a = 1, b = "x" } }]
        models = ["vgg16-gap", { weights = "a/best.pth", batch_size = 3 }]
        methods = [{ batch_size = 4 }, "rise:masks=9"]
        """)
    )
    assert [run.folder.as_posix() for run in runs] == [
        "here/synthetic-test-vgg16-gap-cam", "here/synthetic-test-vgg16-gap-rise-masks=9",
        "here/synthetic-test-best-cam", "here/synthetic-test-best-rise-masks=9",
        "here/cub-val-vgg16-gap-cam", "here/cub-val-vgg16-gap-rise-masks=9",
        "here/cub-val-best-cam", "here/cub-val-best-rise-masks=9",
    ]  # fmt: skip
    assert [run.options["batch_size"] for run in runs] == [4, 1, 4, 3, 4, 2, 4, 3]
    assert runs[7].options == {
        "dataset": "cub",
        "split": "val",
        "dataset_args": {"a": "1", "b": "x"},
        "weights": "a/best.pth",
        "method": "rise:masks=9",
        "batch_size": 3,
        "limit": 9,
    }


def test_lists_that_are_missing_have_one_entry(suite: Suite) -> None:
    (run,) = read_suite(suite('model = "vgg16-gap"\ntau = 0.5'))
    assert run.folder == Path("results/grid/synthetic-test-vgg16-gap-cam")
    assert run.options == {"model": "vgg16-gap", "tau": 0.5}


def test_a_name_tells_folders_apart(suite: Suite) -> None:
    text = 'models = ["resnet50", { model = "resnet50", map_size = 28, name = "ResNet 28" }]'
    assert [run.folder.name for run in read_suite(suite(text))] == [
        "synthetic-test-resnet50-cam", "synthetic-test-ResNet-28-cam",
    ]  # fmt: skip
    for other in ("", ', name = "RESNET50"'):
        with pytest.raises(
            InputError, match=r"grid.toml: two runs would be written to results/grid/synth.*give one of the ent"
        ):
            read_suite(suite(f'models = ["resnet50", {{ model = "resnet50", map_size = 28{other} }}]'))


def test_a_file_can_hold_what_evaluate_takes() -> None:
    elsewhere = {"preprocessing", "validation", "out", "resume"}
    parameters = inspect.signature(wsol.evaluate).parameters
    suite_options = {name: option for name, _, option in options() if option.in_suite}
    assert {*suite_options} == {*parameters} - elsewhere
    for name, option in suite_options.items():
        default = parameters[name].default
        assert default is None or isinstance(default, option.kinds), name


def test_the_options_are_declared_once() -> None:
    declared = {field.name: field.default for field in fields(EvalConfig)}
    assert declared == {name: each.default for name, each in inspect.signature(wsol.evaluate).parameters.items()}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modells = []", "grid.toml: unknown key 'modells'; did you mean models"),
        ("batch-size = 4", "grid.toml: unknown key 'batch-size'; did you mean batch_size"),
        ("resume = true", "grid.toml: unknown key 'resume'; known: model, weights"),
        ('methods = ["cam", { method = "cam", compile = true }]', "entry 2 of methods: unknown key 'compile'; did you"),
        ('datasets = [{ dataset = "cub", out = "x" }]', "entry 1 of datasets: unknown key 'out'"),
        ('batch_size = "4"', "batch_size is '4'; give an integer"),
        ("limit = true", "limit is True; give an integer"),
        ("compiled = 1", "compiled is 1; give true or false"),
        ("layer = 4", "layer is 4; give a string"),
        ('tau = "best"', "tau is 'best'; give a number, 'val' or 'oracle'"),
        ('split = "train"', "split is 'train'; give 'test' or 'val'"),
        ('precision = "float16"', "precision is 'float16'; give 'float32', 'tf32' or 'bfloat16'"),
        ("dataset_args = { images = [4] }", "dataset_args is {'images': [4]}; give a table of strings and numbers"),
        ('models = "vgg16-gap"', "models is 'vgg16-gap'; give a list with at least one entry"),
        ("methods = []", "methods is []; give a list with at least one entry"),
        ("models = [4]", "entry 1 of models: 4 is neither a string nor a table"),
        ('models = [{ model = "vgg16-gap", name = 4 }]', "entry 1 of models: name is 4; give a string"),
        ("tau = ", "grid.toml is no TOML file: "),
        ('methods = ["cam", "gradcamm"]', "grid.toml: unknown method 'gradcamm'; did you mean gradcam"),
        ('datasets = ["cubs"]', "grid.toml: unknown data set 'cubs'; did you mean cub"),
        ('protocol = "exact:delta=x"', "grid.toml: protocol exact: "),
    ],
)
def test_a_file_that_is_no_suite_is_one_sentence(
    suite: Suite, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    assert evaluate(["--suite", str(suite(text))]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert (printed.out, printed.err.count("\n"), asked) == ("", 1, [])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            ["--suite", "grid.toml", "--batch-size", "32"],
            "with --suite, batch_size cannot be given; write it into gri",
        ),
        (
            ["--suite", "grid.toml", "--dataset-arg", "a=1", "--compile"],
            "with --suite, dataset_args and compiled can",
        ),
        (["--suite", "grid.toml", "--only", "0/2"], "--only '0/2' should be K/N, the K-th of N parts, with K from 1"),
        (["--suite", "grid.toml", "--only", "3/2"], "--only '3/2' should be K/N"),
        (["--suite", "grid.toml", "--only", "2"], "--only '2' should be K/N"),
        (["--suite", "none.toml"], "there is no suite file none.toml"),
        (["--only", "1/2"], "--only selects runs of a suite; give --suite"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(
    suite: Suite, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], call: list[str], sentence: str
) -> None:
    suite("")
    assert evaluate(call) == 2
    assert sentence in capsys.readouterr().err
    assert asked == []


def test_parts_make_up_the_suite(suite: Suite, asked: list[dict[str, Any]]) -> None:
    path = suite('models = ["a", "b", "c"]\nmethods = ["cam", "gradcam"]')
    whole = [run.folder for run in read_suite(path)]
    assert run_suite(path)["folder"].tolist() == [str(folder) for folder in whole]
    del asked[:]
    for k in (1, 2, 3, 4):
        run_suite(path, f"{k}/4")
    assert [call["out"] for call in asked] == [whole[i] for i in (0, 4, 1, 5, 2, 3)]
    assert all(call["resume"] for call in asked)
    table = run_suite(path, "8/8")
    assert len(table) == 0
    assert format_suite(table) == "0 runs: 0 new, 0 done before, 0 failed"


def test_whatever_fails_is_one_line_and_the_others_run(
    suite: Suite, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = [
        torch.OutOfMemoryError("CUDA out of memory.\nSee documentation"),
        OSError(28, "No space left on device"),
        MemoryError(),
        InputError("there is no folder x"),
    ]
    sentences = [
        "OutOfMemoryError: CUDA out of memory.",
        "[Errno 28] No space left on device",
        "MemoryError",
        "there is no folder x",
    ]
    waiting = [*errors]

    def fail(**_: object) -> None:
        raise waiting.pop(0)

    monkeypatch.setattr(evaluate_module, "evaluate", fail)
    path = suite('models = ["a", "b", "c", "d"]')
    table = run_suite(path)
    assert table["failure"].tolist() == sentences
    assert set(table["state"]) == {"failed"}
    assert capsys.readouterr().err.count("\n") == 4
    waiting = [*errors]
    monkeypatch.setattr(distributed, "process_group", lambda: ProcessGroup(rank=1))
    assert evaluate(["--suite", str(path)]) == 0  # of several processes the first speaks, and has the exit code
    assert capsys.readouterr() == ("", "")
    assert asked == []


def test_a_run_that_failed_leaves_its_memory_to_the_next(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[torch.nn.Module]] = []
    free = list[bool]()

    def fail(**_: object) -> None:
        free.append(all(each() is None for each in held))
        network = torch.nn.Linear(2, 2)
        network.circle = [network]
        held.append(weakref.ref(network))
        raise RuntimeError(network)

    monkeypatch.setattr(evaluate_module, "evaluate", fail)
    run_suite(suite('models = ["a", "b"]'))
    assert free == [True, True]


def test_reading_a_suite_does_not_wait_for_torch(suite: Suite) -> None:
    suite('models = ["vgg16-gap"]')
    code = (
        "import sys; from wsol.evaluation.suite import read_suite; read_suite('grid.toml'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
