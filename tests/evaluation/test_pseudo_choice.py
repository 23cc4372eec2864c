"""A tau chosen with pseudo boxes: hand-worked, the same by every way, and independent of the evaluated boxes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.eval import main as evaluate_main
from wsol.evaluation.pseudo_choice import describe_choice
from wsol.metrics.base import LocalizationStats
from wsol.models import Model
from wsol.protocols import find_protocol
from wsol.runs.read import Evaluation
from wsol.runs.signature import Signature
from wsol.score import main as score_main

INNER, OUTER = (80, 80, 144, 144), (40, 40, 184, 184)
PROTOCOL = "wsolevaluation:step=0.1"
NOTE = (
    "tau 0.5 is chosen with pseudo boxes and gives a GT-known accuracy of 0.0 %; the data set's own boxes of val "
    "choose 0, which gives 100.0 %"
)


def write_lists(folder: Path, boxes: dict[str, tuple[int, ...]], size: tuple[int, int] = (224, 224)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lists = {
        "image_ids": [*boxes],
        "class_labels": [f"{name},0" for name in boxes],
        "image_sizes": [f"{name},{size[0]},{size[1]}" for name in boxes],
        "localization": [f"{name},{','.join(map(str, box))}" for name, box in boxes.items()],
    }
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Path]:
    """Maps of two nested squares: 1 in the inner, 0.5 in the outer one.

    The box is the outer square at tau 0 to 0.4 and the inner one from 0.5 on, since trunc(255 / 2) is not above
    trunc(0.5 * 255); their IoU is about 65^2 / 145^2 = 0.2. All own boxes are the outer square, all pseudo boxes the
    inner one.
    """
    score_map = np.zeros((224, 224))
    score_map[40:184, 40:184] = 0.5
    score_map[80:144, 80:144] = 1
    for split, names in (("val", "ab"), ("test", "cde")):
        (tmp_path / f"maps-{split}").mkdir()
        for name in names:
            np.save(tmp_path / f"maps-{split}" / f"{name}.npy", score_map)
        write_lists(tmp_path / "lists" / split, {f"{name}.jpg": OUTER for name in names})
    write_lists(tmp_path / "pseudo", dict.fromkeys(("a.jpg", "b.jpg"), INNER))
    return {"metadata": tmp_path / "lists", "maps": tmp_path / "maps-test", "val_maps": tmp_path / "maps-val"}


def accuracy(result: Evaluation, rule: str = "val") -> float:
    rows = result.metrics[(result.metrics.metric == "gt_known_loc_acc") & (result.metrics.tau_rule == rule)]
    return float(rows.value.iloc[0])


def tau_of(result: Evaluation) -> str:
    return Signature.parse(result.signature).tau


def test_the_run_uses_the_tau_of_the_pseudo_boxes(given: dict[str, Path], tmp_path: Path) -> None:
    own = wsol.score(**given, tau="val", protocol=PROTOCOL)
    assert (tau_of(own).rpartition("=")[2], accuracy(own), own.metadata.notes) == ("0", 100, ())
    result = wsol.score(**given, tau="val", protocol=PROTOCOL, val_boxes=tmp_path / "pseudo", out=tmp_path / "run")
    assert accuracy(result) == 0
    assert accuracy(result, "oracle") == 100
    assert result.metadata.notes == (NOTE,)
    assert set(result.predictions.tau) == {0.5}
    val = Evaluation.read(tmp_path / "run" / "val")
    images = Signature.parse(val.signature).dataset
    assert images.startswith("metadata-val(pseudo)#2:")
    assert tau_of(result) == f"{tau_of(own).partition('(')[0]}-pseudo({images},{val.metadata.provenance.model})=0.5"
    assert accuracy(val, "oracle") == 100  # of the pseudo boxes


def test_the_evaluated_boxes_do_not_change_the_choice(given: dict[str, Path], tmp_path: Path) -> None:
    options = {**given, "tau": "val", "protocol": PROTOCOL, "val_boxes": tmp_path / "pseudo"}
    before = wsol.score(**options)
    write_lists(tmp_path / "lists" / "test", dict.fromkeys(("c.jpg", "d.jpg", "e.jpg"), INNER))
    after = wsol.score(**options)
    assert (accuracy(before), accuracy(after)) == (0, 100)
    assert tau_of(before) == tau_of(after)
    assert after.metadata.notes[0].endswith("choose 0, which gives 0.0 %")


def test_images_without_an_object_are_in_no_accuracy() -> None:
    """They do not lower what either tau gives on the evaluated split."""
    stats = LocalizationStats(
        np.array([[1, 0], [1, 1], [0, 0]], np.float32),
        0.5,
        np.zeros(3, np.int64),
        objects=np.array([True, True, False]),
    )
    images = Dataset("made", "val", (), ("a",))
    note = describe_choice(find_protocol(PROTOCOL), SimpleNamespace(stats=stats), images, 0, 1)  # type: ignore[arg-type]  # the rest is not used
    assert note == [
        "tau 0 is chosen with pseudo boxes and gives a GT-known accuracy of 100.0 %; the data set's own boxes of val "
        "choose 0.1, which gives 50.0 %"
    ]


def test_boxes_of_other_images_are_noted(given: dict[str, Path], tmp_path: Path) -> None:
    write_lists(tmp_path / "pseudo", dict.fromkeys(("a.jpg", "b.jpg", "z.jpg"), INNER))
    result = wsol.score(**given, tau="val", protocol=PROTOCOL, val_boxes=tmp_path / "pseudo")
    assert result.metadata.notes == (
        NOTE,
        "pseudo boxes without an image in metadata val are not used (1): z.jpg",
    )


def test_a_run_on_val_is_scored_against_pseudo_boxes(given: dict[str, Path], tmp_path: Path) -> None:
    options = {"metadata": given["metadata"], "maps": given["val_maps"], "split": "val", "protocol": PROTOCOL}
    result = wsol.score(**options, tau=0.6, val_boxes=tmp_path / "pseudo")
    assert result.signature.startswith("metadata-val(pseudo)#2:")
    assert accuracy(result, "fixed") == 100
    assert accuracy(wsol.score(**options, tau=0.6), "fixed") == 0


def test_options_that_do_not_go_together(given: dict[str, Path], tmp_path: Path, tiny_model: Model) -> None:
    options = {"metadata": given["metadata"], "maps": given["maps"], "val_boxes": tmp_path / "pseudo"}
    with pytest.raises(InputError, match=r"which tau 0\.2 ignores; give tau val"):
        wsol.score(**options)
    with pytest.raises(InputError, match="which tau oracle ignores; give tau val"):
        wsol.evaluate(tiny_model, dataset="synthetic", tau="oracle", val_boxes=tmp_path / "pseudo")


def test_the_commands_say_what_is_wrong(
    given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--metadata", given["metadata"], "--maps", given["maps"], "--val-maps", given["val_maps"], "--tau", "val"]
    call += ["--val-boxes", tmp_path / "maps-val", "--out", tmp_path / "run"]
    assert score_main([*map(str, call)]) == 2
    printed = capsys.readouterr().err
    assert "maps-val holds no pseudo boxes; give a folder with localization.txt" in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture
def pseudo(tiny_model: Model, csv_data: Path, tmp_path: Path) -> Path:
    """Pseudo boxes of the val images of ``csv_data``: those that the network draws at a high tau, in a frame of 224."""
    drawn = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", split="val", tau=0.75)
    first = drawn.predictions[drawn.predictions["rank"] == 0].set_index("image_id")
    corners = first[["x0", "y0", "x1", "y1"]].astype(int)
    labels = first["label"].to_dict()
    folder = write_lists(tmp_path / "drawn", {str(name): tuple(row) for name, row in corners.T.to_dict("list").items()})
    (folder / "class_labels.txt").write_text("".join(f"{name},{label}\n" for name, label in labels.items()))
    return folder


@pytest.mark.slow
def test_evaluated_and_scored_again_are_the_same(
    tiny_model: Model, csv_data: Path, pseudo: Path, tmp_path: Path
) -> None:
    options = {"dataset": "csv", "data_root": csv_data, "device": "cpu", "tau": "val"}
    own = wsol.evaluate(tiny_model, **options, out=tmp_path / "own")
    chosen = wsol.evaluate(tiny_model, **options, val_boxes=pseudo, out=tmp_path / "pseudo")
    curves = np.load(tmp_path / "pseudo" / "val" / "curves.npy")
    best = int((curves >= 0.5).mean(0).argmax())
    assert not np.array_equal(curves, np.load(tmp_path / "own" / "val" / "curves.npy"))
    assert tau_of(chosen).startswith("tau:val-pseudo(csv-val(pseudo)#4:")
    assert tau_of(chosen).endswith(f")={best / 1000:g}")
    assert (chosen.predictions.tau == best / 1000).all()
    own_tau = float(tau_of(own).rpartition("=")[2])
    assert own_tau != best / 1000
    assert chosen.metadata.notes == (
        f"tau {best / 1000:g} is chosen with pseudo boxes and gives a GT-known accuracy of {accuracy(chosen):.1f} %; "
        f"the data set's own boxes of val choose {own_tau:g}, which gives {accuracy(own):.1f} %",
    )
    again = wsol.score(run=tmp_path / "own", tau="val", val_boxes=pseudo, out=tmp_path / "again")
    pd.testing.assert_frame_equal(again.metrics, chosen.metrics)
    pd.testing.assert_frame_equal(again.predictions, chosen.predictions)
    assert again.metadata.notes == chosen.metadata.notes
    assert again.signature == chosen.signature
    with pytest.raises(InputError, match="pseudo was evaluated with pseudo boxes; give a run with the data set's own"):
        wsol.score(run=tmp_path / "pseudo", tau="val", val_boxes=pseudo)
    rescored = wsol.score(run=tmp_path / "pseudo", tau="val")
    assert tau_of(rescored) == tau_of(chosen)

    comparison = wsol.compare([tmp_path / "own", tmp_path / "pseudo"])
    assert "tau:val(csv-val#4:ids=" in comparison.signature
    assert comparison.notes[0] == "pseudo: tau is chosen with pseudo boxes instead of the boxes of the data set"
    rows = comparison.differences
    row = rows[(rows.metric == "gt_known_loc_acc") & (rows.tau_rule == "val")].iloc[0]
    assert row.difference == pytest.approx(accuracy(own) - accuracy(chosen))
    board = wsol.leaderboard(tmp_path / "own", tmp_path / "pseudo", tmp_path / "again", validate=True)
    assert board.left_out == []
    assert len(set(board.table.group)) == 1


@pytest.mark.slow
def test_the_command(
    csv_data: Path, pseudo: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    call = [
        "--model",
        "squeezenet1_1",
        "--weights",
        weights,
        "--dataset",
        "csv",
        "--data-root",
        csv_data,
        "--tau",
        "val",
    ]
    call += ["--val-boxes", pseudo, "--device", "cpu", "--limit", "3", "--no-intervals", "--out", tmp_path / "run"]
    assert evaluate_main([*map(str, call)]) == 0
    printed = capsys.readouterr().out
    assert "is chosen with pseudo boxes and gives a GT-known accuracy of" in printed
    assert "tau:val-pseudo(csv-val(pseudo)#3:" in printed
