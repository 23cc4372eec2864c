"""The export for the Hugging Face Hub: by hand, against the documented formats, and with the Hub's own library."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import wsol
from wsol.errors import InputError
from wsol.leaderboard import main
from wsol.leaderboards import Leaderboard
from wsol.leaderboards.hugging_face import write_evaluation_results
from wsol.leaderboards.rows import Row
from wsol.models import Model

DATASET = "somebody/localization"
# Written after https://huggingface.co/docs/hub/eval-results: every documented key, and no other.
RESULTS_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["dataset", "value"],
        "additionalProperties": False,
        "properties": {
            "dataset": {
                "type": "object",
                "required": ["id", "task_id"],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
                    "task_id": {"type": "string", "pattern": r"^[\w.-]+$"},
                    "revision": {"type": "string"},
                },
            },
            "value": {"type": "number"},
            "verifyToken": {"type": "string"},
            "date": {"type": "string"},
            "source": {
                "type": "object",
                "required": ["url"],
                "additionalProperties": False,
                "properties": {"url": {"type": "string"}, "name": {"type": "string"}, "user": {"type": "string"}},
            },
            "evaluation_framework": {"type": "string"},
            "notes": {"type": "string"},
        },
    },
}
BENCHMARK_SCHEMA = {
    "type": "object",
    "required": ["name", "description", "evaluation_framework", "tasks"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "evaluation_framework": {"type": "string", "pattern": "^[a-z0-9-]+$"},
        "tasks": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {
                "type": "object",
                "required": ["id", "config", "split"],
                "additionalProperties": False,
                "properties": {name: {"type": "string", "minLength": 1} for name in ("id", "config", "split")},
            },
        },
    },
}


def row(run: str, dataset: str = "odd-test#8:aa", model: str = "vgg_16:1f", method: str = "cam", **more: Any) -> Row:
    """A row of a leaderboard by hand."""
    fields = {"dataset": dataset, "model": model, "method": method, "protocol": "exact:levels=6", "tau": "tau:0.2"}
    signature = "|".join([*fields.values(), "wsol:0.1.0"])
    group = f"{dataset}|exact:levels=6"
    return {
        "kind": "measured",
        "group": group,
        "run": run,
        **fields,
        "signature": signature,
        "n": 8,
        "skipped": 0,
        **more,
    }


CAM = row(
    "a/cam",
    **{"top1_loc_err@fixed": 50.0, "top1_loc_err@fixed.low": 30.125, "top1_loc_err@fixed.high": 70.0},
    **{"top1_loc_err@fixed.tau": 0.2, "top1_loc_err@oracle": 100 / 3, "top1_loc_err@oracle.tau": 0.6},
    **{"mean_iou@fixed": 61.0, "pxap": 1e-05},  # no headline; a number that YAML 1.1 reads as text if it has no dot
)
OTHER = row("b", method="gradcam", **{"top1_loc_err@fixed": 40.0, "top1_loc_err@fixed.tau": 0.3})
BIRDS = row("c", "birds-val(tenth)#9:bb+images:cc", "mine:2e", **{"max_box_acc_v2@oracle": 70.25})
BASELINE = row("d", model="center-box", method="baseline", **{"max_box_acc_v2@oracle": 20.0})
PUBLISHED = {"kind": "published", "model": "NIN*", "top1_loc_err@fixed": 33.3}


def export(folder: Path, *rows: Row, dataset: str = DATASET) -> dict[str, Any]:
    """Export rows and read all files, by their paths."""
    write_evaluation_results(rows, folder, dataset)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}


def test_by_hand(tmp_path: Path) -> None:
    files = export(tmp_path / "hub", CAM, OTHER, BIRDS, BASELINE, PUBLISHED)
    cam, other = (f"models/vgg_16-1f/.eval_results/{name}.yaml" for name in ("a-cam", "b"))
    birds = "models/mine-2e/.eval_results/c.yaml"
    assert [*files] == ["benchmark/eval.yaml", birds, cam, other]
    ids = [entry["dataset"]["task_id"] for entry in files[cam]]
    ends = {task.rpartition("-")[2] for task in ids}
    assert len(ends) == 1  # the same images and protocol
    (end,) = ends
    assert re.fullmatch("[0-9a-f]{8}", end)
    start = "odd-test-exact"
    assert ids == [f"{start}-top1_loc_err-fixed-{end}", f"{start}-top1_loc_err-oracle-{end}", f"{start}-pxap-{end}"]
    assert files[cam][0] == {
        "dataset": {"id": DATASET, "task_id": ids[0]},
        "value": 50.0,
        "notes": "top-1 localization error in percent, lower is better; tau 0.2 (fixed); 95 % interval [30.125, "
        "70.000]; signature odd-test#8:aa|vgg_16:1f|cam|exact:levels=6|tau:0.2|wsol:0.1.0",
    }
    assert [entry["value"] for entry in files[cam]] == [50.0, 100 / 3, 1e-05]  # every digit
    assert files[other][0]["dataset"]["task_id"] == ids[0]  # two methods of a network compete on one task
    (entry,) = files[birds]
    assert entry["notes"].startswith("MaxBoxAccV2 in percent, higher is better; threshold rule oracle; signature ")
    bird = entry["dataset"]["task_id"]
    assert bird.startswith("birds-val-exact-max_box_acc_v2-oracle-")
    tasks = files["benchmark/eval.yaml"]["tasks"]
    assert tasks == [
        *({"id": task, "config": "odd", "split": "test"} for task in ids),
        {"id": bird, "config": "birds", "split": "val"},
    ]


def test_every_result_has_a_task_whose_id_does_not_depend_on_other_rows(tmp_path: Path) -> None:
    alone, both = export(tmp_path / "one", CAM), export(tmp_path / "two", BIRDS, OTHER, CAM)
    path = "models/vgg_16-1f/.eval_results/a-cam.yaml"
    assert alone[path] == both[path]
    for files in (alone, both):
        benchmark = files.pop("benchmark/eval.yaml")
        used = {entry["dataset"]["task_id"] for entries in files.values() for entry in entries}
        assert used == {task["id"] for task in benchmark["tasks"]}
    assert {task["config"] for task in export(tmp_path / "three", CAM)["benchmark/eval.yaml"]["tasks"]} == {"default"}


def test_other_images_or_settings_are_another_task(tmp_path: Path) -> None:
    rows = [row(f"{i}", f"odd-test#8:{end}", pxap=1.0) for i, end in enumerate(("aa", "ab", "aa+images:cc"))]
    files = export(tmp_path / "hub", *rows, {**rows[0], "run": "4", "group": "odd-test#8:aa|exact:levels=7"})
    assert len(files["benchmark/eval.yaml"]["tasks"]) == 4


@pytest.mark.slow
def test_files_follow_the_documented_formats(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for path, content in export(tmp_path / "hub", CAM, OTHER, BIRDS).items():
        jsonschema.validate(content, BENCHMARK_SCHEMA if path == "benchmark/eval.yaml" else RESULTS_SCHEMA)


def test_the_library_of_the_hub_reads_them(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    parse = getattr(hub, "parse_eval_result_entries", None)
    if parse is None:
        pytest.skip("this version of huggingface_hub does not know evaluation results")
    files = export(tmp_path / "hub", CAM, OTHER, BIRDS)
    del files["benchmark/eval.yaml"]
    for entries in files.values():
        parsed = parse(entries)
        assert hub.eval_result_entries_to_yaml(parsed) == entries  # nothing is lost on the way
        assert {entry.dataset_id for entry in parsed} == {DATASET}
    hub.utils.validate_repo_id(DATASET)


@pytest.mark.parametrize(
    "dataset", ["", "name", "a/b/c", "a//b", "-a/b", "a/b-", "a/b--c", "a/b..c", "a/é", "a/" + 99 * "b"]
)
def test_ids_of_repositories(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(InputError, match="is no id of a repository on the Hub; give OWNER/NAME"):
        write_evaluation_results([CAM], tmp_path / "hub", dataset)
    assert not (tmp_path / "hub").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for folder in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(InputError, match="exists and is not an empty folder; export to another one"):
            write_evaluation_results([CAM], folder, DATASET)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_runs_of_one_name_are_refused_and_baselines_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"two runs would be exported to .*a-cam\.yaml; rename the folder of a-cam"):
        write_evaluation_results([CAM, {**CAM, "run": "a-cam"}], tmp_path / "hub", DATASET)
    with pytest.raises(InputError, match="no run is of a model"):
        write_evaluation_results([BASELINE, PUBLISHED], tmp_path / "hub", DATASET)
    assert not (tmp_path / "hub").exists()
    said = write_evaluation_results([CAM, BASELINE], tmp_path / "hub", DATASET)
    assert said == ["d: not exported, as a baseline is no model"]


def test_odd_names(tmp_path: Path) -> None:
    odd = row("../../x\n: [é", "a: b-test#8:aa", "../..|\udc80", pxap=1.0)
    assert [*export(tmp_path / "hub", odd)] == ["benchmark/eval.yaml", "models/run/.eval_results/x.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub"]  # nothing is written elsewhere


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("wsol.leaderboards.leaderboard", lambda *folders, **_: Leaderboard([CAM, BASELINE], []))
    call = ["runs", "--export", "hf", str(tmp_path / "hub")]
    assert main([*call, "--hf-dataset", DATASET]) == 0
    printed = capsys.readouterr()
    assert printed.err == "wsol: d: not exported, as a baseline is no model\n"
    assert f"written to {tmp_path / 'hub'}: benchmark/eval.yaml" in printed.out
    assert main(call) == 2  # the folder has files now
    assert "is not an empty folder" in capsys.readouterr().err
    assert main([*call[:-1], f"{tmp_path / 'other'}"]) == 0
    assert "the exported files name the benchmark OWNER/NAME; give --hf-dataset" in capsys.readouterr().err
    assert main([*call[:-2], "onnx", "x"]) == 2
    assert "unknown export 'onnx'; known: hf" in capsys.readouterr().err
    assert main(["--export", "hf", str(tmp_path / "third")]) == 0  # the runs are those in results/


@pytest.mark.slow
def test_the_command_on_runs(tmp_path: Path, synthetic_model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = wsol.evaluate(synthetic_model, limit=4, device="cpu", out=tmp_path / "runs" / "net")
    wsol.score(baseline="center-box", dataset="synthetic", limit=4, out=tmp_path / "runs" / "box")
    call = [str(tmp_path / "runs"), "--export", "hf", str(tmp_path / "hub")]
    assert main([*call, "--hf-dataset", DATASET]) == 0
    printed = capsys.readouterr()
    assert "box: not exported" in printed.err
    (path,) = (tmp_path / "hub" / "models").glob("*/.eval_results/*.yaml")
    assert path.read_text(encoding="utf-8").startswith("# https://huggingface.co/docs/hub/eval-results\n- dataset:\n")
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    values = evaluation.to_dict()
    for entry in entries:
        metric, rule = re.fullmatch(
            r"synthetic-test-wsolevaluation-(\w+?)(?:-(fixed|oracle))?-[0-9a-f]{8}", entry["dataset"]["task_id"]
        ).groups()
        assert entry["value"] == values[f"{metric}/{rule}" if rule else metric]
    assert len(entries) >= 6
