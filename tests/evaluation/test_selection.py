"""The best of several weights files on val, evaluated on test: by own or pseudo boxes, and never by test boxes."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import wsol
from wsol.errors import InputError
from wsol.evaluation.selection import find_best, format_selection
from wsol.runs.signature import Signature
from wsol.select import main

OWN = """
from torch import nn


def make():
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 4, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, 4, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7),
    )
"""


@pytest.fixture
def candidates(tmp_path: Path) -> list[Path]:
    """Three weights files of the same network."""
    (tmp_path / "own.py").write_text(OWN)
    names: dict[str, Any] = {}
    exec(OWN, names)  # the network of the file
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        network: nn.Module = names["make"]()
        paths.append(tmp_path / f"epoch{seed}.safetensors")
        save_file(network.state_dict(), paths[-1])
    return paths


@pytest.fixture
def options(tmp_path: Path, csv_data: Path) -> dict[str, Any]:
    network = {"model": f"{tmp_path / 'own.py'}:make", "device": "cpu", "bootstrap": 0, "protocol": "exact:levels=64"}
    return {**network, "dataset": "csv", "data_root": csv_data}


def write_pseudo(folder: Path, drawn: pd.DataFrame) -> Path:
    """Write the predicted boxes of val images as pseudo boxes, in COCO's JSON format."""
    own = drawn[drawn["rank"] == 0]
    images = [
        {"id": i, "file_name": name, "width": 80 + int(name[:2]), "height": 64} for i, name in enumerate(own.image_id)
    ]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [r.x0, r.y0, r.x1 - r.x0, r.y1 - r.y0]}
        for i, r in enumerate(own.itertuples())
    ]
    folder.mkdir()
    path = folder / "pseudo.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}))
    return path


@pytest.mark.slow
def test_the_best_on_val_is_evaluated_on_test(
    candidates: list[Path], options: dict[str, Any], csv_data: Path, tmp_path: Path
) -> None:
    selection = wsol.select(candidates[:2], by="mean_iou", out=tmp_path / "out", tau="val", **options)
    alone = [wsol.evaluate(weights=each, split="val", tau="oracle", **options).metrics for each in candidates[:2]]
    values = [float(t[(t.metric == "mean_iou") & (t.tau_rule == "oracle")].value.iloc[0]) for t in alone]
    assert selection.table.value.tolist() == pytest.approx(values, abs=1e-9)
    best = values.index(max(values))
    assert selection.table.chosen.tolist() == [i == best for i in range(2)]
    assert selection.table.own_boxes.isna().all()
    expected = wsol.evaluate(weights=candidates[best], tau="val", **options)
    pd.testing.assert_frame_equal(selection.evaluation.metrics, expected.metrics)
    one, other = Signature.parse(selection.evaluation.signature), Signature.parse(expected.signature)
    images = Signature.parse(selection.table.signature[0]).dataset
    assert one.model == f"{other.model}+best-of-2(mean_iou,{images})"
    assert (one.dataset, one.tau) == (other.dataset, other.tau)
    (note,) = selection.evaluation.metadata.notes
    assert note.startswith(
        f"epoch{best}.safetensors is the best of 2 weights files by mean_iou on {images}: epoch0.saf"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "selection.csv", "test", *(f"val-{i + 1}-epoch{i}" for i in range(2))
    ]  # fmt: skip
    assert pd.read_csv(tmp_path / "out" / "selection.csv").chosen.tolist() == selection.table.chosen.tolist()
    assert f"* {candidates[best]}: mean_iou {values[best]:.3f} %" in format_selection(selection)
    board = wsol.leaderboard(tmp_path / "out", validate=True)
    assert (len(board.rows), board.left_out) == (3, [])

    table = pd.read_csv(csv_data / "boxes.csv")  # other test boxes do not change the choice
    test = table.split == "test"
    table.loc[test, ["x0", "y0", "x1", "y1"]] = [0, 0, 9, 9]
    table.to_csv(csv_data / "boxes.csv", index=False)
    again = wsol.select(candidates[:2], by="mean_iou", out=tmp_path / "again", tau="val", **options)
    pd.testing.assert_frame_equal(again.table, selection.table)
    assert again.evaluation.signature != selection.evaluation.signature


@pytest.mark.slow
def test_pseudo_boxes_choose_the_network_that_drew_them(
    candidates: list[Path], options: dict[str, Any], tmp_path: Path
) -> None:
    number = 2
    drawn = wsol.evaluate(weights=candidates[number], split="val", tau=0.75, **options).predictions
    boxes = write_pseudo(tmp_path / "boxes", drawn)
    options |= {"by": "mean_iou", "val_boxes": boxes}
    selection = wsol.select(candidates, out=tmp_path / "out", tau=0.25, **options)
    assert selection.table.chosen.tolist() == [i == number for i in range(3)]
    assert selection.table.value[number] > 90  # at the nearest tau of the grid
    del options["val_boxes"]
    own = wsol.select(candidates, out=tmp_path / "own", tau=0.25, **options)
    assert selection.table.own_boxes.tolist() == pytest.approx(own.table.value.tolist(), abs=1e-9)
    (note,) = selection.evaluation.metadata.notes
    assert note.endswith(f"the data set's own boxes choose epoch{own.table.chosen.idxmax()}.safetensors")
    signature = Signature.parse(selection.evaluation.signature)
    assert "+best-of-3(mean_iou,csv-val(pseudo)#4:" in signature.model
    assert signature.tau == "tau:0.25"  # pseudo boxes chose the weights alone


def test_a_metric_where_less_is_better() -> None:
    assert find_best(pd.Series([30.0, 20.0, 20.0]), "top1_cls_err") == 1
    assert find_best(pd.Series([30.0, 40.0, 40.0]), "gt_known_loc_acc") == 1


def test_what_cannot_be_selected_is_one_sentence(
    candidates: list[Path], options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"a\.safetensors is a single weights file; give a list"):
        wsol.select("a.safetensors", out=tmp_path)
    with pytest.raises(InputError, match="two or more different weights files"):
        wsol.select(candidates[:1], out=out, **options)
    with pytest.raises(InputError, match="two or more different weights files"):
        wsol.select([candidates[0], candidates[0]], out=out, **options)
    with pytest.raises(InputError, match="leave out split"):
        wsol.select(candidates, out=out, split="val", **options)
    with pytest.raises(InputError, match="unknown metric 'mean_io'; did you mean"):
        wsol.select(candidates, by="mean_io", out=out, **options)
    with pytest.raises(InputError, match=r"tau 0\.1234 is not on the protocol's grid"):
        wsol.select(candidates, out=out, tau=0.1234, **options | {"protocol": "wsolevaluation"})
    assert not out.exists()
    call = [*map(str, candidates[:2]), "--model", options["model"], "--dataset", "csv", "--by", "pxap"]
    call += ["--data-root", str(options["data_root"]), "--device", "cpu", "--out", str(out)]
    assert main(call) == 2
    assert "the runs on the split val have no pxap to select by; give one of" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(
    candidates: list[Path], options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    call = [*map(str, candidates[:2]), "--model", options["model"], "--dataset", "csv", "--by", "top1_cls_err"]
    assert main([*call, "--data-root", str(options["data_root"]), "--device", "cpu", "--no-intervals"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("on the validation split, * is chosen:\n")
    assert "+best-of-2(top1_cls_err,csv-val#4:" in printed.out
    assert "wsol: 2 of 2, " in printed.err
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.startswith("select-csv-")
    assert (folder / "test" / "run.json").is_file()
