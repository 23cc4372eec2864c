"""What a user meets on the terminal: one table, or one sentence and exit code 2."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from wsol.__main__ import main as console
from wsol.eval import main as evaluate
from wsol.list import main as list_
from wsol.protocols import PROTOCOLS
from wsol.train import main as train


def arguments(weights: Path, data: Path, out: Path, *more: str) -> list[str]:
    given = {"--model": "squeezenet1_1", "--weights": weights, "--dataset": "csv", "--data-root": data, "--out": out}
    return [str(word) for pair in given.items() for word in pair] + ["--device", "cpu", *more]


def test_a_table_and_a_run_folder(
    tmp_path: Path, weights: Path, csv_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = arguments(weights, csv_data, tmp_path / "run", "--dataset-arg", "corners=edges", "--limit", "4")
    assert evaluate(call) == 0
    printed = capsys.readouterr()
    for part in ("top-1 localization error", "GT-known accuracy", "fixed", "oracle", "csv-test#4:", "4 images"):
        assert part in printed.out
    assert printed.err == (
        "wsol: squeezenet1_1 on csv test, 4 images: cam with the layer classifier.2, whose feature maps are 13 x 13 "
        "for an input of 224 x 224\n"
    )  # no bar where there is no terminal
    assert (tmp_path / "run" / "run.json").is_file()
    assert evaluate(call) == 0  # the same run again is the same run
    assert evaluate([*call, "--resume"]) == 0
    assert capsys.readouterr().err.count("feature maps") == 1  # a finished run is only read
    assert evaluate([*call, "--tau", "0.3"]) == 2
    assert "holds another run" in capsys.readouterr().err


@pytest.mark.slow
def test_skipped_images_are_said(
    tmp_path: Path, weights: Path, csv_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (csv_data / "01.png").write_bytes(b"GIF89a")
    assert evaluate(arguments(weights, csv_data, tmp_path / "run")) == 2
    assert "or give --skip-bad-images" in capsys.readouterr().err
    assert evaluate(arguments(weights, csv_data, tmp_path / "run", "--skip-bad-images")) == 0
    assert "1 unreadable images are NOT in these numbers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--model", "squeezenet1_7"], "unknown model 'squeezenet1_7'; did you mean"),
        (["--method", "chefer"], "chefer cannot be applied: classifier.2 has no tokens that attend to each other"),
        (["--layer", "features.99"], "squeezenet1_1 has no layer features.99; its children are features, classifier"),
        (
            ["--layer", "features.12"],
            "cam cannot be applied: class activation maps need class scores that are linear in the mean or maximum of",
        ),
        (["--method", "rise:mask=9"], "method rise: unknown setting 'mask=9'; it takes masks, cells, keep, seed"),
        (["--method", "occlusion:stride=40"], "method occlusion: stride 40 should be from 1 to the window, 32"),
        (["--method", "gradcam:relu=maybe"], "method gradcam: relu cannot be 'maybe'"),
        (["--map-size", "20"], "squeezenet1_1: maps of 20 x 20 are not possible"),
        (["--model", "timm/resnet1"], "timm has no model 'resnet1'; did you mean"),
        (["--model", "mine.py:net"], "there is no file mine.py; --model takes FILE.py:FUNCTION"),
        (["--model", "resnet18"], "does not fit resnet18: missing in the file"),
        (["--weights", "gone.pth"], "there is no weights file gone.pth"),
        (["--dataset", "cubs"], "unknown data set 'cubs'; did you mean cub"),
        (["--data-root", "nowhere"], "there is no folder nowhere; give --data-root"),
        (["--dataset", "cub"], "classes.txt is missing: it should contain"),
        (["--dataset-arg", "corners"], "--dataset-arg 'corners' should be KEY=VALUE"),
        (["--dataset-arg", "corner=x"], "unknown --dataset-arg 'corner'"),
        (["--method", "gradcamm"], "unknown method 'gradcamm'"),
        (["--protocol", "wsoleval"], "unknown protocol 'wsoleval'; did you mean wsolevaluation"),
        (["--dataset", "CUBB"], "unknown data set 'CUBB'; did you mean cub"),
        (["--tau", "0.12345"], "tau 0.12345 is not on the protocol's grid"),
        (["--limit", "0"], "a limit of 0 leaves no image"),
        (["--download"], "csv: no public host offers it"),
    ],
)
def test_one_sentence_and_exit_code_2(
    tmp_path: Path,
    weights: Path,
    csv_data: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    sentence: str,
) -> None:
    assert evaluate(arguments(weights, csv_data, tmp_path / "run", *change)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("wsol: ")
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_another_folder_is_left_alone(
    tmp_path: Path, weights: Path, csv_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    assert evaluate(arguments(weights, csv_data, tmp_path)) == 2
    assert "holds files that no run writes, such as" in capsys.readouterr().err
    assert evaluate(arguments(weights, csv_data, tmp_path / "thesis.tex")) == 2
    assert "cannot be created" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("datasets", "cub"),
        ("baselines", "full-image"),
        ("protocols", "wsolevaluation"),
        ("metrics", "max_box_acc"),
    ],
)
def test_list(kind: str, known: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_([kind]) == 0
    assert known in capsys.readouterr().out.splitlines()


def test_list_of_protocols_says_what_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_(["protocols"]) == 0
    blocks = re.split(r"^(?=\w)", capsys.readouterr().out, flags=re.M)[1:]
    assert [block.splitlines()[0] for block in blocks] == PROTOCOLS.names()
    for block in blocks:
        name, summary, *settings = block.splitlines()
        protocol = PROTOCOLS.get(name)
        assert summary.strip()
        assert [line.split("=")[0].strip() for line in settings] == [field.name for field in fields(protocol)]
        for line, field in zip(settings, fields(protocol), strict=True):
            pair, meaning = re.fullmatch(r" {4}(\S+) +(\S.*)", line).groups()
            assert PROTOCOLS.find(f"{name}:{pair}") == protocol  # it can be given as it is written
            value, text = getattr(protocol, field.name), pair.partition("=")[2]
            assert text == str(value).lower() if isinstance(value, bool) else value == type(value)(text)
            assert "`" not in meaning
    exact = blocks[PROTOCOLS.names().index("exact")]
    assert re.search(r"^    delta=0.5 +IoU from which on a box is a hit, inclusive.$", exact, re.M)


def test_list_of_methods_says_what_they_need_and_what_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_(["methods"]) == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cam", "features"] in [line[:2] for line in words]
    assert ["rise:masks=4000,cells=8,keep=0.5,seed=0"] in words
    assert ["stride=16", "Distance", "between", "windows"] in [line[:4] for line in words]
    assert list_(["methods", "rise"]) == 2
    assert "only models can be listed by name" in capsys.readouterr().err


def test_list_of_models_without_names_has_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_(["models"]) == 0
    *names, also, own = capsys.readouterr().out.splitlines()
    assert {"alexnet-star-gap", "resnet18", "vgg16", "vit_b_16"} <= set(names)
    assert not [name for name in names if name.removesuffix("-gap") != name and name.removesuffix("-gap") in names]
    assert "NAME-gap" in also
    assert "FILE.py:FUNCTION" in own


@pytest.mark.slow
def test_list_of_models_says_head_map_size_and_methods(capsys: pytest.CaptureFixture[str]) -> None:
    dino = "timm/vit_small_patch16_224.dino"
    names = ["vgg16", "vgg16-g?p", "regnet_x_400mf", "vit_b_32", "timm/vit_base_patch16_384", dino]
    assert list_(["models", *names]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    without = (
        "all but acol, attention-rollout, chefer, clip-surgery, dino-seg, grad-eclip, legrad, lost, maskclip, "
        "self-attention, tokencut, ts-cam"
    )
    without_cam = without.replace("chefer", "cam, chefer").replace("maskclip", "maskclip, nwc")
    assert found["vgg16-gap"] == f"GAP + linear 1024 x 14 x 14 {without}"
    assert found["vgg16-gmp"] == f"GMP + linear 1024 x 14 x 14 {without}"
    assert found["vgg16"] == f"other 512 x 14 x 14 {without_cam}"
    assert found["regnet_x_400mf"] == f"GAP + linear 400 x 7 x 7 {without}"
    of_transformer = "all but acol, cam, clip-surgery, guided-backprop, nwc"
    assert found["vit_b_32"] == f"other 768 x 7 x 7 {of_transformer}"
    assert found["timm/vit_base_patch16_384"] == f"other 768 x 24 x 24 at 384 {of_transformer}"
    assert found[dino].startswith(
        "none 384 x 14 x 14 all but ablationcam, acol, backprop, bagcams, cam, chefer, clip-surgery, eigengradcam"
    )
    assert "self-attention" not in found[dino]
    assert list_(["models", "resnet18x"]) == 2
    printed = capsys.readouterr()
    assert "did you mean resnet18" in printed.err
    assert printed.out == ""


@pytest.mark.slow
def test_the_console_script_and_the_modules_are_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["wsol", "list", "methods"])
    assert console() == 0
    here = capsys.readouterr().out
    there = subprocess.run([sys.executable, "-m", "wsol.list", "methods"], capture_output=True, text=True, check=True)
    assert there.stdout == here
    monkeypatch.setattr(sys, "argv", ["wsol", "lisst"])
    assert console() == 2
    assert capsys.readouterr().err == "wsol: unknown command 'lisst'; did you mean list?\n"


def test_help_and_version_of_the_console_script() -> None:
    code = """
import sys
from wsol.__main__ import main

code = main()
assert not {"torch", "numpy"} & {*sys.modules}
sys.exit(code)
"""
    call = [sys.executable, "-c", code]
    help_ = subprocess.run([*call, "--help"], check=True, capture_output=True, text=True).stdout
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        layers = tomllib.load(file)["tool"]["importlinter"]["contracts"][0]["layers"]
    commands = [name.removeprefix("wsol.") for name in layers[1].split(" | ")]
    assert sorted(re.findall(r"^  (\w+) +\w.*$", help_, re.M)) == sorted(commands)
    version = subprocess.run([*call, "--version"], check=True, capture_output=True, text=True).stdout
    assert version == f"wsol {importlib.metadata.version('wsol')}\n"
    nothing = subprocess.run(call, check=False, capture_output=True, text=True)
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (2, "", help_)


@pytest.mark.slow
def test_dir_shows_the_public_names_alone() -> None:
    code = "import wsol, wsol.score, wsol.eval; print(*dir(wsol)); wsol.evaluate; from wsol import *; print(compare)"
    lines = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines[0].split() == sorted(
        [
            "InputError",
            "LocalizationMetric",
            "__version__",
            "compare",
            "evaluate",
            "leaderboard",
            "score",
            "search",
            "select",
            "show",
            "train",
        ]
    )
    assert lines[1].startswith("<function compare")


@pytest.mark.parametrize(
    "command", ["eval", "score", "select", "train", "search", "explain", "faithfulness", "compare", "leaderboard"]
)
def test_help_does_not_wait_for_torch(command: str) -> None:
    code = f"""
import sys
from wsol.{command} import main
try:
    main(["--help"])
except SystemExit:
    assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
def test_commands_do_not_hide_the_functions_of_their_names() -> None:
    code = "import wsol, wsol.score, wsol.train; assert callable(wsol.score) and callable(wsol.train)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
def test_train_then_evaluate_a_users_own_images(
    tmp_path: Path, csv_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = csv_data / "boxes.csv"
    table.write_text(table.read_text().replace(",val\n", ",train\n"))
    monkeypatch.chdir(tmp_path)
    common = ["--dataset", "csv", "--data-root", str(csv_data), "--device", "cpu"]
    call = ["--model", "shufflenet_v2_x0_5", *common, "--epochs", "1", "--image-size", "64", "--no-validation"]
    assert train(call) == 0
    weights = "results/train-shufflenet_v2_x0_5-csv/shufflenet_v2_x0_5.safetensors"
    assert weights in capsys.readouterr().out
    assert evaluate([*common, "--weights", weights]) == 0
    assert "top-1 classification error" in capsys.readouterr().out
    assert evaluate(["--weights", weights]) == 2
    assert "has 7 classes, but synthetic has 12; give weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--epochs", "0"], "epochs"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--batch-size", "0"], "batch_size"),
        (["--stages", "none.toml"], "there is no stages file none.toml"),
        (["--weights", "none.pth"], "there is no weights file none.pth"),
        (["--freeze", "features"], "give --weights to take them from"),
        (["--map-size", "15"], "--map-size can be 7, 14"),
        (["--dataset-arg", "size=1"], "synthetic: size is '1'"),
        (["--device", "abacus"], "device 'abacus' cannot be used here"),
    ],
)
def test_a_training_that_cannot_be_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    call = ["--model", "shufflenet_v2_x0_5-gap", "--dataset-arg", "images=12", "--out", str(tmp_path), *more]
    assert train(call) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_neither_model_nor_weights(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    assert evaluate([]) == 2
    assert "give --model, or --weights with a file of wsol.train" in capsys.readouterr().err
    assert evaluate(["--weights", str(weights)]) == 2
    assert "does not name its model; give --model" in capsys.readouterr().err
