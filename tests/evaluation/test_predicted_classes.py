"""Predicted classes of another classifier, for maps and boxes: errors by hand, and every kind of bad file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import squeezenet1_0

import wsol
from wsol.datasets import Dataset, Sample, load_dataset
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.leaderboards.verify import verify_tables
from wsol.metrics.classification import has_top5
from wsol.models import Model
from wsol.runs.read import Evaluation, read_run
from wsol.score import main

SIDE = 32
PROTOCOL = f"wsolevaluation:step=0.05,size={SIDE}"
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
BOX = (8, 8, 23, 23)
LABELS = {"a.png": 0, "b.png": 1, "c.png": 2, "d.png": 3, "e.png": 4}
HITS = {"a.png": True, "b.png": True, "c.png": False, "d.png": True, "e.png": False}
RANKED = {  # the rank of the ground truth is 1, 3, 1, none and 5
    "a.png": [0, 1, 2, 3, 4],
    "b.png": [0, 2, 1, 3, 4],
    "c.png": [2, 0, 1, 3, 4],
    "d.png": [0, 1, 2, 4, 5],
    "e.png": [0, 1, 2, 3, 4],
}
# Right classes: a, c; among five all but d. Right boxes: a, b, d.
EXPECTED = {"top1_cls_err": 60, "top5_cls_err": 20, "top1_loc_err": 80, "top5_loc_err": 60, "gt_known_loc_acc": 60}
TOP5 = {"top5_cls_err", "top5_loc_err"}
TABLES = ("metrics", "classes", "groups", "errors", "baselines", "predictions")


def images(classes: Sequence[str] = CLASSES) -> Dataset:
    """Five images of 32 x 32 without files."""
    boxes = as_boxes([BOX])
    samples = [Sample(name, label, boxes, "inclusive", size=(SIDE, SIDE)) for name, label in LABELS.items()]
    return Dataset("made", "test", tuple(samples), tuple(classes))


def lit(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """A map whose box has these inclusive corners: the protocol adds a pixel on the right and below."""
    score_map = np.zeros((SIDE, SIDE), np.float32)
    score_map[y0:y1, x0:x1] = 0.8
    return score_map


HIT, MISS = lit(*BOX), lit(28, 28, 30, 30)


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name, hit in HITS.items():
        np.save(folder / f"{Path(name).stem}.npy", HIT if hit else MISS)
    return folder


def table(ranked: Mapping[str, Sequence[int]] = RANKED) -> pd.DataFrame:
    rows = [(name, rank, label) for name, labels in ranked.items() for rank, label in enumerate(labels, 1)]
    return pd.DataFrame(rows, columns=["image_id", "rank", "class"])


def values(result: Evaluation) -> dict[str, float]:
    """The metrics without a threshold, and the others at the fixed one; external boxes have none."""
    rows = result.metrics[result.metrics.tau_rule.isna() | (result.metrics.tau_rule == "fixed")]
    return dict(zip(rows.metric, rows.value, strict=True))


def test_errors_by_hand(maps: Path, tmp_path: Path) -> None:
    path = tmp_path / "ranks.csv"
    table().to_csv(path, index=False)
    result = wsol.score(maps=maps, predictions=path, dataset=images(), protocol=PROTOCOL, out=tmp_path / "out")
    found = values(result)
    assert {name: found[name] for name in EXPECTED} == pytest.approx(EXPECTED)
    errors = result.tables.errors.set_index("error")
    assert errors.n["class"] == 3  # b, d and e, although these classes have no box
    assert errors.n["correct"] == 1
    assert errors.n.sum() == 5
    assert errors.gain["class"] == pytest.approx(40)  # b and d: their own boxes are right
    rows = result.predictions
    assert rows.groupby("image_id")["class_id"].apply(list).to_dict() == {
        name: [LABELS[name], *labels] for name, labels in RANKED.items()
    }
    others = rows.class_id != rows.label
    assert rows.x0[others].isna().all()
    assert set(rows.error[others]) == {"class"}
    assert rows.x0[~others].notna().all()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert result.signature.split("|")[1].endswith(f"+predictions(ranks:{digest[:8]})")
    stored = json.loads((tmp_path / "out" / "run.json").read_text())["provenance"]["external"]
    assert stored["predictions"] == {"path": "ranks.csv", "sha256": digest, "corners": None}
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    again = read_run(tmp_path / "out")
    assert again.metadata.provenance == result.metadata.provenance
    assert again.results.stats.ranks.tolist() == [1, 3, 1, 0, 5]
    assert again.results.stats.top5
    with ThreadPoolExecutor(1) as pool:
        assert verify_tables(again, pool) == []
    without = wsol.score(maps=maps, dataset=images(), protocol=PROTOCOL)
    assert "predictions" not in without.signature
    assert values(without)["gt_known_loc_acc"] == found["gt_known_loc_acc"]
    kept = result.metrics[result.metrics.metric.isin(without.metrics.metric)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, without.metrics)


def test_every_form_of_the_file_gives_the_same(maps: Path, tmp_path: Path) -> None:
    options = {"maps": maps, "dataset": images(), "protocol": PROTOCOL}
    numbers = table()
    names = numbers.assign(**{"class": [CLASSES[label] for label in numbers["class"]]})
    expected = wsol.score(predictions=numbers, **options)
    shuffled = numbers.sample(frac=1, random_state=0)[["class", "rank", "image_id"]]
    numbers.to_csv(tmp_path / "numbers.csv", index=False)
    names.to_csv(tmp_path / "names.csv", index=False)
    numbers.astype({"class": float, "rank": float}).to_csv(tmp_path / "floats.csv", index=False)
    numbers.to_parquet(tmp_path / "numbers.parquet")
    names.astype({"class": "category"}).to_parquet(tmp_path / "names.parquet")
    files = [tmp_path / name for name in ("numbers.csv", "names.csv", "floats.csv", "numbers.parquet", "names.parquet")]
    signatures = {expected.signature}
    for source in (*files, str(files[0]), names, shuffled):
        result = wsol.score(predictions=source, **options)
        for name in TABLES:
            pd.testing.assert_frame_equal(getattr(result.tables, name), getattr(expected.tables, name))
        signatures.add(result.signature)
    assert len(signatures) == 8  # each file and table has its own SHA-256; a path as a string is the same file


def test_a_column_of_integers_has_indices_even_if_classes_are_named_by_numbers(maps: Path, tmp_path: Path) -> None:
    options = {"maps": maps, "dataset": images("1230456"), "protocol": PROTOCOL}
    assert values(wsol.score(predictions=table(), **options))["top1_cls_err"] == 60
    table().to_csv(tmp_path / "ranks.csv", index=False)
    with pytest.raises(InputError, match=r"index of one class of made and the name of another .* give a Parquet file"):
        wsol.score(predictions=tmp_path / "ranks.csv", **options)


def test_scores_are_shown(maps: Path) -> None:
    scored = table().assign(score=[float("nan"), *np.linspace(1, 0, 24)])
    result = wsol.score(maps=maps, predictions=scored, dataset=images(), protocol=PROTOCOL)
    assert {name: values(result)[name] for name in EXPECTED} == pytest.approx(EXPECTED)
    found = result.predictions[result.predictions["rank"] > 0].score
    assert found.tolist() == pytest.approx(scored.score.tolist(), nan_ok=True)
    own = result.predictions[result.predictions["rank"] == 0].score
    expected = scored.score[[0, 7, 10, 24]].tolist()  # the rank of each; d's class is not predicted
    assert own.tolist() == pytest.approx([*expected[:3], float("nan"), expected[3]], nan_ok=True)


def test_top_5_is_left_out_with_fewer_ranks(maps: Path, tmp_path: Path) -> None:
    options = {"maps": maps, "dataset": images(), "protocol": PROTOCOL}
    short = {name: labels[:4] for name, labels in RANKED.items()}
    for ranked in (short, {**RANKED, "a.png": [0]}):
        result = wsol.score(predictions=table(ranked), out=tmp_path / "out", **options)
        found = values(result)
        assert {name: found[name] for name in EXPECTED.keys() - TOP5} == pytest.approx(
            {name: number for name, number in EXPECTED.items() if name not in TOP5}
        )
        for each in ("metrics", "classes", "groups", "baselines"):
            assert TOP5.isdisjoint(getattr(result.tables, each).metric)
        assert "some images have fewer than five predicted classes: top-5 errors are left out" in result.metadata.notes
        again = read_run(tmp_path / "out")
        assert not again.results.stats.top5
        with ThreadPoolExecutor(1) as pool:
            assert verify_tables(again, pool) == []
        (tmp_path / "out").rename(tmp_path / f"out{len(ranked['a.png'])}")
    few = Dataset("few", "test", images().samples[:3], CLASSES[:3])
    some = {name: labels[:3] for name, labels in RANKED.items() if name in ("a.png", "b.png", "c.png")}
    result = wsol.score(maps=dict.fromkeys(some, HIT), predictions=table(some), dataset=few, protocol=PROTOCOL)
    assert values(result)["top5_cls_err"] == 0  # all three classes are ranked
    assert values(result)["top1_cls_err"] == pytest.approx(100 / 3)


def test_whether_there_are_five() -> None:
    assert has_top5(np.array([[7, 1, 2, 3, 4, 5]]), 1000)
    assert not has_top5(np.array([[3, 1, 2, 3, 4]]), 1000)
    assert not has_top5(np.array([[7, 1, 2, 3, 4, 5], [7, 1, 2, 3, 4, -1]]), 1000)
    assert has_top5(np.array([[1, 0, 1]]), 2)
    assert not has_top5(np.array([[2, 0, 1]]), 2)  # lists without names lack the last classes


def test_images_that_only_classification_counts(maps: Path) -> None:
    samples = [
        replace(sample, boxes=as_boxes([]), class_only=True) if sample.image_id in ("b.png", "c.png") else sample
        for sample in images()
    ]
    made = replace(images(), samples=tuple(samples))
    found = values(wsol.score(maps=maps, predictions=table(), dataset=made, protocol=PROTOCOL))
    assert found["top1_cls_err"] == 60
    assert found["top5_cls_err"] == 20
    assert found["top1_loc_err"] == pytest.approx(200 / 3)  # of a, d and e
    short = table({**RANKED, "b.png": [0, 1]})
    result = wsol.score(maps=maps, predictions=short, dataset=made, protocol=PROTOCOL)
    assert TOP5.isdisjoint(result.metrics.metric)
    assert len(result.predictions) == 3 * 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t[t.image_id != "b.png"], r"1 missing: b\.png"),
        (lambda t: pd.concat([t, t[:1].assign(image_id="z.png")]), r"1 extra: z\.png \(row 25\)"),
        (
            lambda t: t.assign(rank=[1, 1, *t["rank"][2:]]),
            r"1 unusable: a\.png \(row 0 and row 1: rank 1 twice\)",
        ),
        (lambda t: t.drop(index=1), r"1 unusable: a\.png \(rank 2 is missing, but there is rank 5\)"),
        (
            lambda t: t.assign(**{"class": [1, *t["class"][1:]]}),
            r"1 unusable: a\.png \(row 0 and row 1: one class at the ranks 1 and 2\)",
        ),
        (lambda t: t.assign(score=[1e300] + [1] * 24), r"1 unusable: a\.png \(row 0: a score beyond single precision"),
        (
            lambda t: t.assign(score=[0.1, 0.3] + [0.1] * 23),
            r"1 unusable: a\.png \(row 1: the score of rank 2 is higher than that of rank 1\)",
        ),
    ],
)
def test_unusable_predictions_are_counted_and_named(maps: Path, change, sentence: str) -> None:
    options = {"maps": maps, "predictions": change(table()), "dataset": images(), "protocol": PROTOCOL}
    with pytest.raises(InputError, match=rf"^predictions does not fit the images: {sentence}.*--skip-bad"):
        wsol.score(**options)
    result = wsol.score(**options, skip_bad=True)
    left_out = [] if "extra" in sentence else ["b.png" if "1 missing" in sentence else "a.png"]
    assert [*result.metadata.skipped] == left_out
    assert result.metadata.dataset.n == 5 - len(left_out)
    assert result.metadata.notes[0].startswith("predictions: 1 ")
    # Of a, c, right first, and b, d, e, wrong first:
    wrong = 3 - ("b.png" in left_out)
    assert values(result)["top1_cls_err"] == pytest.approx(100 * wrong / (5 - len(left_out)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image_id,rank\na.png,1\n", "lacks the columns class"),
        ("image_id,rank,class\na.png,0,1\n", "line 2: the rank is 0; the best class of an image has the rank 1"),
        ("image_id,rank,class\na.png,1.5,1\n", r"line 2: '1\.5' is not an integer"),
        ("image_id,rank,class\na.png,one,1\n", "line 2: 'one' is not a number"),
        ("image_id,rank,class\na.png,1,7\n", "line 2: '7' is no class of made, which has 7"),
        ("image_id,rank,class\na.png,1,yak\n", "line 2: 'yak' is no class of made"),
        ("image_id,rank,class\na.png,1,ant\na.png,2,1\n", "has names, such as 'ant' in line 2, and indices"),
        ("image_id,rank,class,score\na.png,1,1,inf\n", "line 2: 'inf' is not a number"),
        ("image_id,rank,class\n", "5 missing"),
    ],
)
def test_malformed_files(maps: Path, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "ranks.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        wsol.score(maps=maps, predictions=tmp_path / "ranks.csv", dataset=images(), protocol=PROTOCOL)


def test_other_malformed_input(maps: Path, tmp_path: Path) -> None:
    def sentence(**options) -> str:
        with pytest.raises(InputError) as caught:
            wsol.score(**{"maps": maps, "dataset": images(), "protocol": PROTOCOL, **options})
        return str(caught.value)

    assert "is missing" in sentence(predictions=tmp_path / "none.csv")
    assert "neither a .csv nor a .parquet file" in sentence(predictions=tmp_path / "ranks.txt")
    (tmp_path / "ranks.parquet").write_bytes(b"PAR1 broken")
    assert "is no Parquet file with the columns image_id, rank and class" in sentence(
        predictions=tmp_path / "ranks.parquet"
    )
    table().drop(columns="rank").to_parquet(tmp_path / "lacking.parquet")
    assert "lacks the columns rank" in sentence(predictions=tmp_path / "lacking.parquet")
    assert "lack the column rank" in sentence(predictions=table().drop(columns="rank"))
    assert "row 3: 9 is no class of made, which has 7" in sentence(predictions=table({"a.png": [0, 1, 2, 9]}))
    assert "no usable predictions" in sentence(predictions=table({}), skip_bad=True)
    assert "predictions go with maps or boxes" in sentence(maps=None, baseline="center-box", predictions=table())
    assert "val_predictions with val_maps" in sentence(val_predictions=table())


def test_boxes_with_predictions(tmp_path: Path) -> None:
    """A box an image for whatever class it is, as PSOL has them."""
    rows = [f"{name},{','.join(map(str, BOX if hit else (0, 0, 5, 5)))}" for name, hit in HITS.items()]
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(["image_id,x0,y0,x1,y1", *rows]) + "\n")
    options = {"boxes": path, "dataset": images(), "protocol": PROTOCOL}
    result = wsol.score(predictions=table(), out=tmp_path / "out", **options)
    assert {name: values(result)[name] for name in EXPECTED} == pytest.approx(EXPECTED)
    assert result.tables.errors.set_index("error").n["class"] == 3
    assert read_run(tmp_path / "out").results.stats.top5
    short = wsol.score(predictions=table({n: c[:2] for n, c in RANKED.items()}), out=tmp_path / "short", **options)
    assert TOP5.isdisjoint(short.metrics.metric)
    assert not read_run(tmp_path / "short").results.stats.top5
    corners = {3: BOX, 0: (0, 0, 5, 5)}  # the box of d's class, and of the class that is predicted first
    lines = [f"d.png,{label},{','.join(map(str, box))}" for label, box in corners.items()]
    path.write_text("\n".join(["image_id,class_id,x0,y0,x1,y1", *lines]) + "\n")
    only = Dataset("made", "test", images().samples[3:4], CLASSES)
    result = wsol.score(boxes=path, predictions=table({"d.png": RANKED["d.png"]}), dataset=only, protocol=PROTOCOL)
    first = result.predictions.iloc[:2]
    assert first[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[8, 8, 24, 24], [0, 0, 6, 6]]
    assert result.predictions.x0[2:].isna().all()
    assert "gt_known_loc_acc" in values(result)
    path.write_text("\n".join(["image_id,class_id,x0,y0,x1,y1", lines[1]]) + "\n")
    assert "gt_known_loc_acc" not in values(
        wsol.score(boxes=path, predictions=table({"d.png": RANKED["d.png"]}), dataset=only, protocol=PROTOCOL)
    )
    with pytest.raises(InputError, match=r"1 unusable: d\.png \(the ground-truth class is predicted at rank 2, but it"):
        wsol.score(boxes=path, predictions=table({"d.png": [0, 3]}), dataset=only, protocol=PROTOCOL)


def test_the_command(maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = tmp_path / "lists" / "val"
    lists.mkdir(parents=True)
    rows = {
        "image_ids": [*LABELS],
        "class_labels": [f"{name},{label}" for name, label in LABELS.items()],
        "image_sizes": [f"{name},{SIDE},{SIDE}" for name in LABELS],
        "localization": [",".join(map(str, (name, *BOX))) for name in LABELS],
    }
    for name, lines in rows.items():
        (lists / f"{name}.txt").write_text("\n".join(lines) + "\n")
    table().to_csv(tmp_path / "ranks.csv", index=False)
    arguments = ["--maps", maps, "--predictions", tmp_path / "ranks.csv", "--metadata", lists, "--protocol", PROTOCOL]
    assert main([*map(str, arguments), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "top-5 localization error" in output
    assert "80.0" in output


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_run_is_the_same_from_its_own_maps_and_predictions(
    tiny_model: Model, csv_data: Path, tmp_path: Path, form: str
) -> None:
    options = {"dataset": "csv", "data_root": csv_data, "protocol": "wsolevaluation:step=0.05"}
    run = wsol.evaluate(tiny_model, **options, device="cpu", tau="val", out=tmp_path / "run")
    exported = {}
    for split, folder in {"": tmp_path / "run", "val_": tmp_path / "run" / "val"}.items():
        own = pd.read_parquet(folder / "predictions.parquet")
        arrays = np.load(folder / "maps.npy")
        (tmp_path / f"{split}maps").mkdir()
        for name, of_image in zip(own.image_id.unique(), arrays, strict=True):
            classes, places = np.unique(own.class_id[own.image_id == name], return_index=True)
            np.savez(tmp_path / f"{split}maps" / name, maps=of_image[places], classes=classes)
        ranks = own[own["rank"] > 0].rename(columns={"class_id": "class"})[["image_id", "rank", "class", "score"]]
        exported[f"{split}predictions"] = tmp_path / f"{split}ranks.{form}"
        (ranks.to_csv if form == "csv" else ranks.to_parquet)(exported[f"{split}predictions"], index=False)
    again = wsol.score(
        maps=tmp_path / "maps",
        val_maps=tmp_path / "val_maps",
        raw=True,
        tau="val",
        out=tmp_path / "again",
        **exported,
        **options,
    )
    with ThreadPoolExecutor(1) as pool:
        assert verify_tables(read_run(tmp_path / "again"), pool) == []
    assert {"top1_loc_err", "top5_loc_err", "top1_cls_err"} <= set(again.metrics.metric)
    for name in TABLES[:-1]:
        pd.testing.assert_frame_equal(getattr(again.tables, name), getattr(run.tables, name), check_exact=True)
    scoreless = [column for column in run.predictions if column != "score"]
    pd.testing.assert_frame_equal(again.predictions[scoreless], run.predictions[scoreless], check_exact=True)
    predicted = again.predictions["rank"] > 0  # the file has no score of a ground-truth class below rank five
    pd.testing.assert_series_equal(again.predictions.score[predicted], run.predictions.score[predicted])
    assert again.predictions.x0.notna().all()


@pytest.mark.slow
def test_one_map_an_image_and_the_predictions_of_a_run_give_its_errors(tiny_model: Model, csv_data: Path) -> None:
    options = {"dataset": "csv", "data_root": csv_data, "protocol": "exact"}
    folder = csv_data.parent / "run"
    run = wsol.evaluate(tiny_model, **options, device="cpu", out=folder)
    own = pd.read_parquet(folder / "predictions.parquet")
    maps = dict(zip(own.image_id.unique(), np.load(folder / "maps.npy")[:, 0], strict=True))
    ranks = own[own["rank"] > 0].rename(columns={"class_id": "class"})
    again = wsol.score(maps=maps, raw=True, predictions=ranks, **options)
    for name in TABLES[:-1]:
        pd.testing.assert_frame_equal(getattr(again.tables, name), getattr(run.tables, name), check_exact=True)


@pytest.mark.slow
def test_squeezenet_outside_the_package_gives_the_reference_values(real_data: Path) -> None:
    """Torchvision's network, Pillow's resizing and a map of one line, against values that were measured elsewhere."""
    network = squeezenet1_0().eval()
    network.load_state_dict(load_file(real_data / "weights" / "squeezenet1_0.safetensors"))
    images = load_dataset("ilsvrc", real_data / "imagenet")
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    maps, rows = {}, []
    for sample in images:
        photo = Image.open(sample.path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        pixels = (torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255 - mean) / std
        with torch.inference_mode():
            of_classes = network.classifier[1](network.features(pixels[None]))[0].relu()
            scores = of_classes.mean((1, 2)).softmax(0)
        maps[sample.image_id] = of_classes[sample.label]
        best = scores.topk(5)
        rows += [
            (sample.image_id, rank, label, score)
            for rank, (label, score) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True), 1)
        ]
    predictions = pd.DataFrame(rows, columns=["image_id", "rank", "class", "score"])
    found = values(wsol.score(maps=maps, raw=True, predictions=predictions, dataset=images))
    expected = {"top1_cls_err": 28.148, "top5_cls_err": 11.481, "top1_loc_err": 56.667, "top5_loc_err": 48.519}
    expected["gt_known_loc_acc"] = 55.556
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=100 / 270 + 1e-3)
