"""The run folder without ``--out``: a second run with other options never meets the first one's."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from wsol.eval import _make_parser as eval_parser
from wsol.eval import main as evaluate
from wsol.evaluation.config import options
from wsol.evaluation.folders import evaluation_folder, scoring_folder
from wsol.score import _make_parser as score_parser
from wsol.score import main as score


def evaluated(*argv: str) -> str:
    return str(evaluation_folder(vars(eval_parser().parse_args(argv))))


def scored(*argv: str) -> str:
    return str(scoring_folder(vars(score_parser().parse_args(argv))))


NETWORK = ("--model", "vgg16-gap")
NAMES = {
    NETWORK: "synthetic-test-vgg16-gap-cam",
    (*NETWORK, "--tau", "0.2", "--split", "test", "--batch-size", "8", "--resume"): "synthetic-test-vgg16-gap-cam",
    (*NETWORK, "--tau", "0"): "synthetic-test-vgg16-gap-cam-tau=0.0",
    (*NETWORK, "--layer", "features.28"): "synthetic-test-vgg16-gap-cam-layer=features.28",
    (*NETWORK, "--protocol", "zhou2016:crops=10"): "synthetic-test-vgg16-gap-cam-protocol=zhou2016-crops=10",
    (*NETWORK, "--dataset-arg", "distractors=3"): "synthetic-distractors=3-test-vgg16-gap-cam",
    ("--model", "timm/vit_small_patch16_224.dino"): "synthetic-test-timm-vit_small_patch16_224.dino-cam",
    (*NETWORK, "--dataset", "imagenet"): "ilsvrc-test-vgg16-gap-cam",
}


@pytest.mark.parametrize(("argv", "name"), NAMES.items(), ids=NAMES.values())
def test_names_by_hand(argv: tuple[str, ...], name: str) -> None:
    assert evaluated(*argv) == f"results/{name}"


def test_names_of_scores_by_hand() -> None:
    run = "results/synthetic-test-vgg16-gap-cam-tau=0.35"
    assert (
        scored("--run", run, "--protocol", "exact") == "results/score-run-synthetic-test-vgg16-gap-cam-tau=0.35-exact"
    )
    argv = ("--boxes", "mine.json", "--dataset", "coco", "--data-root", "coco", "--limit", "5", "--skip-bad")
    assert scored(*argv) == "results/score-boxes-mine.json-wsolevaluation-coco-coco-limit=5"


ANOTHER: dict[Any, list[str]] = {bool: [], int: ["7"], dict: ["a=1"]}
OTHERS = [
    *[("--method", each) for each in ("gradcam", "rise:masks=5", "rise:masks=6", "a/m.py:C", "b/m.py:C")],
    *[("--protocol", each) for each in ("exact", "exact:levels=6", "zhou2016")],
    *[("--weights", each) for each in ("V1", "V2", "a.pth", "a.safetensors", "x/a.pth", "y/a.pth", "x-a.pth")],
    *[("--data-root", each) for each in ("birds", "a/birds", "b/birds", "/a/birds", "a-birds", "..")],
    *[("--dataset-arg", each) for each in ("limit=3", "tau=0.3", "split=val")],
    *[("--layer", each) for each in ("a.b", "a/b", "a-b", "limit=3", "x" * 300, "x" * 300 + "y", "日" * 200)],
    *[("--tau", each) for each in ("0", "1", "0.3", "val", "oracle")],
    ("--limit", "3"),
    ("--split", "val"),
    ("--model", "resnet50"),
    ("--model", "here/net.py:make"),
    ("--model", "there/net.py:make"),
]  # fmt: skip


def test_other_options_other_folders() -> None:
    changes = [("--resume",), *OTHERS, *((*a, *b) for a, b in combinations(OTHERS[::3], 2) if a[0] != b[0])]
    names = [evaluated(*(NETWORK if "--model" not in change else ()), *change) for change in changes]
    assert len({name.casefold() for name in names}) == len(changes)
    for name in names:
        assert re.fullmatch(r"results/[\w.+=,-]+", name)
        assert len(name.encode()) < 200
        assert name.split("/")[1].strip(".-") == name.split("/")[1]


def test_every_option_that_decides_a_number_is_told_apart() -> None:
    """Also one that is added later; the others change how a run is computed, not what it computes."""
    plain, same = evaluated(*NETWORK), set()
    for name, _, option in options():
        value = ANOTHER.get(option.kinds, ["0.77"] if name in ("memory", "tau") else [*option.choices, "x"][-1:])
        value = ["bfloat16"] if name == "precision" else ["val"] if name == "split" else value
        value = ["all"] if name == "rank_among" else value
        flag = option.flag or f"--{name.replace('_', '-')}"
        if evaluated(*NETWORK, flag, *([] if option.is_flag else value)) == plain:
            same.add(name)
    assert same == {
        "download", "device", "batch_size", "workers", "memory", "channels_last", "compiled", "skip_bad_images", "out",
        "resume", "bootstrap",
    }  # fmt: skip


def test_scores_are_told_apart() -> None:
    changes = [
        *(("--run", each) for each in ("results/a", "a/results/a", "results/b", "a.2", "a.3")),
        *(("--maps", each) for each in ("a.2", "m.npz", "m", "n/m")),
        *(("--boxes", each) for each in ("center-box", "m.csv", "m.json")),
        ("--baseline", "center-box"),
    ]
    more = [
        (), ("--protocol", "exact"), ("--tau", "0.3"), ("--raw",), ("--corners", "edges"), ("--metadata", "l/val"),
        ("--metadata", "l/val", "--split", "test"), ("--metadata", "m/val"), ("--dataset", "cub"), ("--val-maps", "v"),
        ("--dataset", "cub", "--split", "val"), ("--dataset", "cub", "--limit", "3"), ("--dataset-arg", "a=b"),
    ]  # fmt: skip
    names = [scored(*change, *others) for change in changes for others in more]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"results/score-[\w.+=,-]+", name) for name in names)


@pytest.mark.slow
def test_a_second_run_does_not_meet_the_first(
    tmp_path: Path, weights: Path, csv_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["--model", "squeezenet1_1", "--weights", str(weights), "--dataset", "csv", "--data-root", str(csv_data)]
    call += ["--device", "cpu", "--limit", "2"]
    changes = [[], ["--tau", "oracle"], ["--method", "gradcam", "--layer", "features.11"], ["--protocol", "exact"]]
    for change in changes:
        assert evaluate([*call, *change]) == 0, capsys.readouterr().err
    folders = sorted(path.name for path in Path("results").iterdir())
    assert len(folders) == len(changes)
    assert evaluate([*call, *changes[1], "--resume"]) == 0
    run = str(Path("results", folders[0]))
    assert score(["--run", run]) == score(["--run", run, "--tau", "oracle"]) == 0, capsys.readouterr().err
    assert len([*Path("results").iterdir()]) == len(changes) + 2
