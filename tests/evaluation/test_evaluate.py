"""The whole way, held against the same computation written down plainly with torch and OpenCV."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import wsol
from wsol.baselines import BASELINES
from wsol.datasets import load_dataset, with_content
from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.iou import best_iou
from wsol.models import Model
from wsol.protocols import PROTOCOLS


def plainly(model: Model, root: Path) -> pd.DataFrame:
    """Evaluates the test split of the CSV data, image by image, at tau 0.2."""
    table = pd.read_csv(root / "boxes.csv").query("split == 'test'")
    rows = []
    for name, group in table.groupby("image_id", sort=False):
        image = Image.open(root / str(name)).convert("RGB")
        width, height = image.size
        pixels = torch.tensor(np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))) / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        with torch.no_grad():
            features = model.network.features(((pixels - mean) / std).permute(2, 0, 1)[None])
            logits = model.network.forward_head(features)[0]
        label = int(group.label.iloc[0])
        order = logits.argsort(descending=True).tolist()
        cam = sum(w * f for w, f in zip(model.network.linear.weight[label], features[0], strict=True)).detach().numpy()
        big = cv2.resize(cam, (224, 224), interpolation=cv2.INTER_CUBIC)
        u8 = ((big - big.min()) / (big - big.min()).max() * 255).astype(np.uint8)
        contours, _ = cv2.findContours((u8 > 51).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
        box = [x, y, min(x + w, 223), min(y + h, 223)]
        ious = []
        for x0, y0, x1, y1 in group[["x0", "y0", "x1", "y1"]].to_numpy():
            true = [int(x0 * 224 / width), int(y0 * 224 / height)]
            true += [int(min(x1, width - 1) * 224 / width), int(min(y1, height - 1) * 224 / height)]
            shared_w = max(0, min(box[2], true[2]) - max(box[0], true[0]) + 1)
            shared_h = max(0, min(box[3], true[3]) - max(box[1], true[1]) + 1)
            areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, true)]
            ious.append(shared_w * shared_h / (sum(areas) - shared_w * shared_h))
        rows.append([name, label, order.index(label) + 1, order[:5], max(ious), cam, logits.softmax(0)[label].item()])
    return pd.DataFrame(rows, columns=["image_id", "label", "rank", "top", "iou", "cam", "probability"])


def whole_image_iou(root: Path) -> float:
    """The mean IoU of the whole image with its best box, straight from the table."""
    table = pd.read_csv(root / "boxes.csv").query("split == 'test'")
    shares = []
    for name, group in table.groupby("image_id"):
        width, height = Image.open(root / str(name)).size
        shares.append(max((group.x1 - group.x0) * (group.y1 - group.y0)) / (width * height))
    return float(np.mean(shares))


def value(metrics: pd.DataFrame, metric: str, rule: str | None = None) -> float:
    row = metrics[(metrics.metric == metric) & (metrics.tau_rule.isna() if rule is None else metrics.tau_rule == rule)]
    return float(row.value.item())


def unsigned(path: Path, signature: str) -> pd.DataFrame:
    """Reads a table, all rows of which carry the signature."""
    table = pd.read_csv(path)
    assert (table.pop("signature") == signature).all()
    return table


def test_every_number_and_file(tmp_path: Path, tiny_model: Model, csv_data: Path) -> None:
    out = tmp_path / "run"
    result = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", batch_size=3, out=out)
    plain = plainly(tiny_model, csv_data)

    hit = plain.iou >= 0.5
    expected = {
        "top1_cls_err": 100 * (plain["rank"] > 1).mean(),
        "top5_cls_err": 100 * (plain["rank"] > 5).mean(),
        "top1_loc_err": 100 * (~(hit & (plain["rank"] == 1))).mean(),
        "top5_loc_err": 100 * (~(hit & (plain["rank"] <= 5))).mean(),
        "gt_known_loc_acc": 100 * hit.mean(),
    }
    for metric, number in expected.items():
        assert value(result.metrics, metric, None if "cls" in metric else "fixed") == pytest.approx(number), metric
    assert value(result.metrics, "mean_iou", "fixed") == pytest.approx(100 * plain.iou.mean(), abs=0.5)

    own = result.predictions[result.predictions["rank"] == 0]
    assert own.image_id.tolist() == plain.image_id.tolist()
    assert own.class_id.tolist() == own.label.tolist() == plain.label.tolist()
    np.testing.assert_allclose(own.iou, plain.iou, atol=0.02)
    guesses = result.predictions[result.predictions["rank"] > 0]
    assert guesses.class_id.tolist() == [c for top in plain.top for c in top]
    assert (result.predictions.error == "class").tolist() == (
        result.predictions.class_id != result.predictions.label
    ).tolist()

    np.testing.assert_allclose(own.score, plain.probability, rtol=1e-4)

    maps = np.load(out / "maps.npy", allow_pickle=False)
    assert (maps.shape, maps.dtype) == ((8, 6, 14, 14), np.float32)
    np.testing.assert_allclose(maps[:, 0], np.stack(plain.cam), rtol=1e-4, atol=1e-5)
    curves = np.load(out / "curves.npy", allow_pickle=False)
    assert (curves.shape, curves.dtype) == ((8, 1000), np.float32)
    np.testing.assert_allclose(curves[:, 200], own.iou, atol=1e-6)
    contours = np.load(out / "curves_v2.npy", allow_pickle=False)
    assert (contours >= curves).all()  # the largest contour is one of all
    assert value(result.metrics, "max_box_acc_v2_30", "oracle") == pytest.approx(
        100 * (contours >= np.float32(0.3)).mean(0).max()
    )
    assert value(result.metrics, "max_box_acc", "oracle") == pytest.approx(100 * (curves >= 0.5).mean(0).max())

    assert {path.name for path in out.iterdir()} == {
        "run.json", "metrics.csv", "classes.csv", "groups.csv", "errors.csv", "baselines.csv", "predictions.parquet",
        "ground_truth.parquet", "curves.npy", "curves_v2.npy", "peaks.npy", "boxes.npy", "maps.npy", "gallery.png",
        "thumbnails", "report.html",
    }  # fmt: skip
    with Image.open(out / "gallery.png") as gallery:
        assert gallery.text == {"signature": result.signature}
    baselines = unsigned(out / "baselines.csv", result.signature)
    pd.testing.assert_frame_equal(baselines, result.baselines, check_dtype=False)
    full = baselines.query("baseline == 'full-image' and metric == 'mean_iou' and tau_rule == 'fixed'").value.item()
    assert full == pytest.approx(100 * whole_image_iou(csv_data), abs=0.5)
    assert [*dict.fromkeys(baselines.baseline)] == BASELINES.names()
    assert "top1_cls_err" not in set(baselines.metric)  # no box enters it
    run = json.loads((out / "run.json").read_text())
    assert run["signature"] == result.signature
    data = with_content(load_dataset("csv", csv_data))
    images = data.content.images[:8]
    assert result.signature == (
        f"csv-test#8:{data.fingerprint[:8]}+images:{images}|tiny:00000000|cam|wsolevaluation:step=0.001,norm=minmax|tau:0.2|wsol:{wsol.__version__}"
    )
    pd.testing.assert_frame_equal(unsigned(out / "metrics.csv", result.signature), result.metrics, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "predictions.parquet"), result.predictions, check_dtype=False)
    classes = pd.read_csv(out / "classes.csv")
    metrics = [METRICS.get(name) for name in METRICS.names()]
    missing = {metric.name for metric in metrics if {"pixels", "second"} & {*metric.needs}}  # no masks, one box
    assert {"pxap", "pixel_iou", "peak_iou", "mean_pixel_iou", "top5_loc_err_pairs"} <= missing
    assert set(result.metrics.metric) == set(METRICS.names()) - missing
    assert set(classes.metric) == set(result.metrics.metric) - {metric.name for metric in metrics if metric.by_class}
    errors = unsigned(out / "errors.csv", result.signature).set_index("error")
    first = result.predictions[result.predictions["rank"] == 1]
    assert errors.n.to_dict() == first.error.value_counts().reindex(errors.index, fill_value=0).to_dict()
    groups = unsigned(out / "groups.csv", result.signature)
    assert groups[(groups.by == "instances") & (groups.metric == "mean_iou")].drop_duplicates("group").n.sum() == 8
    assert pd.read_parquet(out / "ground_truth.parquet").attrs == {"signature": result.signature}
    fixed = classes[(classes.metric == "gt_known_loc_acc") & (classes.tau_rule == "fixed")]
    assert dict(zip(fixed.class_id, fixed.value, strict=True)) == pytest.approx(
        (100 * hit.groupby(plain.label).mean()).to_dict()
    )


def test_curves_and_boxes_are_those_of_the_stored_maps(tmp_path: Path, tiny_model: Model, csv_data: Path) -> None:
    out = tmp_path / "run"
    guesses = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", tau=0.4, out=out).predictions
    protocol, data = PROTOCOLS.get("wsolevaluation"), load_dataset("csv", csv_data)
    maps, curves = np.load(out / "maps.npy"), np.load(out / "curves.npy")
    places = guesses[(guesses["rank"] > 0) & (guesses.class_id == guesses.label)]["rank"]
    assert places.max() > 1  # the ground-truth class is not always the first guess
    assert len(places) < len(data)  # and not always among five
    assert any(len(sample.boxes) > 1 for sample in data)
    corners = guesses.set_index(["image_id", "rank"])[["x0", "y0", "x1", "y1"]]
    later = {i for i, rows in guesses.groupby("image_id") if (rows.class_id == rows.label).tolist()[1:2] == [False]}
    assert any(corners.loc[i, 0].tolist() != corners.loc[i, 1].tolist() for i in later)
    for i, (sample, (_, rows)) in enumerate(zip(data, guesses.groupby("image_id", sort=False), strict=True)):
        with Image.open(sample.path) as image:
            truth = protocol.ground_truth(sample, image.size)
        for box, score_map in zip(rows[["x0", "y0", "x1", "y1"]].to_numpy(), maps[i], strict=True):
            prepared = protocol.prepare(score_map[None], (1, 1))
            assert box.tolist() == protocol.boxes(prepared, np.array([0.4]))[0, 0].tolist()
        own = protocol.boxes(protocol.prepare(maps[i, :1], (1, 1)), protocol.taus)[0]
        np.testing.assert_array_equal(curves[i], best_iou(own, truth).astype(np.float32))


def test_a_given_tau_is_the_fixed_one(tiny_model: Model, csv_data: Path) -> None:
    result = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", tau=0.35)
    fixed = result.metrics[result.metrics.tau_rule == "fixed"]
    again = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", tau=float(np.float32(0.35)))
    assert again.signature == result.signature
    assert (fixed.tau == 0.35).all()
    assert (result.predictions.tau == 0.35).all()
    own = result.predictions[result.predictions["rank"] == 0]
    assert value(result.metrics, "gt_known_loc_acc", "fixed") == pytest.approx(100 * (own.iou >= 0.5).mean())


def test_batches_and_threads_change_nothing(tiny_model: Model, csv_data: Path) -> None:
    def run(batch_size: int, workers: int) -> pd.DataFrame:
        return wsol.evaluate(
            tiny_model, dataset="csv", data_root=csv_data, device="cpu", batch_size=batch_size, workers=workers
        ).predictions

    reference = run(4, 1)
    pd.testing.assert_frame_equal(run(4, 3), reference)
    boxes = ["image_id", "class_id", "x0", "y0", "x1", "y1", "error"]
    pd.testing.assert_frame_equal(run(1, 2)[boxes], reference[boxes])


def agreeing(model: Model, data: Path, tau: float) -> Path:
    """Makes the boxes that the model draws at ``tau`` the ground truth of ``test``; ``val`` keeps its own."""
    drawn = wsol.evaluate(model, dataset="csv", data_root=data, device="cpu", tau=tau).predictions
    boxes = drawn[drawn["rank"] == 0].set_index("image_id")[["x0", "y0", "x1", "y1"]]
    table = pd.read_csv(data / "boxes.csv").drop_duplicates("image_id").set_index("image_id").astype({"x0": float})
    table["width"] = table["height"] = 224
    table.update(boxes)
    table.to_csv(data / "boxes.csv")
    return data


def test_tau_is_chosen_on_val_and_frozen(tmp_path: Path, tiny_model: Model, csv_data: Path) -> None:
    agreeing(tiny_model, csv_data, 0.6)
    out = tmp_path / "run"
    result = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", tau="val", out=out)
    val_curves, curves = np.load(out / "val" / "curves.npy"), np.load(out / "curves.npy")
    level = int((val_curves >= 0.5).mean(0).argmax())
    assert level != (curves >= 0.5).mean(0).argmax()
    assert value(result.metrics, "gt_known_loc_acc", "val") == pytest.approx(100 * (curves[:, level] >= 0.5).mean())
    assert (result.predictions.tau == round(level / 1000, 3)).all()
    data = with_content(load_dataset("csv", csv_data, "val"))
    assert f"|tau:val({data.signature})={level / 1000:g}|" in result.signature
    assert json.loads((out / "val" / "run.json").read_text())["dataset"]["split"] == "val"
    oracle = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", tau="oracle")
    best = int((curves >= 0.5).mean(0).argmax())
    assert (oracle.predictions.tau == round(best / 1000, 3)).all()
    assert f"|tau:oracle={best / 1000:g}|" in oracle.signature


def test_a_loaded_data_set_and_a_limit(tiny_model: Model, csv_data: Path) -> None:
    test, val = load_dataset("csv", csv_data), load_dataset("csv", csv_data, "val")
    result = wsol.evaluate(tiny_model, dataset=test, validation=val, tau="val", limit=3, device="cpu")
    assert result.predictions.image_id.unique().tolist() == [test.samples[i].image_id for i in (0, 2, 5)]
    with pytest.raises(InputError, match="tau val needs a validation split"):
        wsol.evaluate(tiny_model, dataset=test, tau="val")
    with pytest.raises(InputError, match="chosen on the split val, not on test"):
        wsol.evaluate(tiny_model, dataset=test, validation=test, tau="val")
    with pytest.raises(InputError, match="a loaded validation needs a loaded data set"):
        wsol.evaluate(tiny_model, dataset="csv", validation=val, tau="val")
    with pytest.raises(InputError, match=r"unknown tau '0\.2'"):
        wsol.evaluate(tiny_model, dataset=test, tau="0.2")
    with pytest.raises(InputError, match="the split 'test' has no image"):
        wsol.evaluate(tiny_model, dataset=test.subset([]))
    with pytest.raises(InputError, match="tau val needs a validation split"):
        wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, split="val", tau="val")


def test_bad_images_stop_the_run_or_are_counted(tmp_path: Path, tiny_model: Model, csv_data: Path) -> None:
    victim = csv_data / "04.png"
    victim.write_bytes(victim.read_bytes()[:2000])

    def run(**options: bool) -> wsol.evaluation.evaluate.Evaluation:
        return wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", out=tmp_path / "r", **options)

    with pytest.raises(InputError, match=r"04\.png cannot be decoded"):
        run()
    assert [path.name for path in (tmp_path / "r").iterdir()] == []  # nothing half-made is left behind
    result = run(skip_bad_images=True)
    assert list(result.metadata.skipped) == ["04.png"]
    assert "cannot be decoded" in result.metadata.skipped["04.png"]
    assert result.metadata.dataset.n == 7
    assert (result.metrics.n == 7).all()
    assert "csv-test#7:" in result.signature
    assert len(np.load(tmp_path / "r" / "maps.npy")) == 7
    left = load_dataset("csv", csv_data).subset([0, 1, *range(3, 8)])
    assert result.predictions.image_id.unique().tolist() == [sample.image_id for sample in left]
    assert result.predictions.drop_duplicates("image_id").label.tolist() == [sample.label for sample in left]
    assert left.signature in result.signature
    first_right = result.predictions[result.predictions["rank"] == 1].set_index("label")
    errors = (first_right.class_id != first_right.index).groupby(level=0).mean() * 100
    by_class = result.classes[result.classes.metric == "top1_cls_err"].set_index("class_id").value
    assert by_class.to_dict() == pytest.approx(errors.to_dict())
    counts = result.classes[result.classes.metric == "top1_cls_err"].set_index("class_id").n.to_dict()
    assert counts == {label: [s.label for s in left].count(label) for label in {s.label for s in left}}


def test_the_signature_names_the_val_images_that_were_used(tiny_model: Model, csv_data: Path) -> None:
    (csv_data / "03.png").write_bytes(b"broken")  # in val
    result = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", tau="val", skip_bad_images=True)
    assert list(result.metadata.val.skipped) == ["03.png"]
    used = with_content(load_dataset("csv", csv_data, "val")).subset([0, 2, 3])
    assert f"|tau:val({used.signature})=" in result.signature


def test_all_images_bad(tiny_model: Model, csv_data: Path) -> None:
    for path in csv_data.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 8 images can be localized: .* is not an image"):
        wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu", batch_size=3, skip_bad_images=True)


def test_boxes_outside(tiny_model: Model, tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "a.png", (60, 40))
    draw(tmp_path / "b.png", (60, 40))
    rows = "a.png,0,0,0,61,40\na.png,0,-1,0,60,40\nb.png,0,0,0,60,40\n"
    (tmp_path / "boxes.csv").write_text("image_id,label,x0,y0,x1,y1\n" + rows)
    options = {"dataset": "csv", "data_root": tmp_path, "assume_class_order": True, "device": "cpu", "batch_size": 1}
    assert wsol.evaluate(tiny_model, **options).metadata.clipped_boxes == 2
    (tmp_path / "boxes.csv").write_text("image_id,label,x0,y0,x1,y1\na.png,0,0,0,62,40\n")
    with pytest.raises(InputError, match=r"a.png: the box .* is 2 pixels outside its 60 x 40 frame"):
        wsol.evaluate(tiny_model, **options)


def test_a_resized_copy_scales_boxes_once_from_the_annotations_frame(
    tiny_model: Model, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    draw(tmp_path / "copy.png", (50, 50))
    # In a 448 x 224 frame the box 0 0 224 112 is the left and upper half; at 224 it is 0 0 112 112.
    (tmp_path / "boxes.csv").write_text("image_id,label,x0,y0,x1,y1,width,height\ncopy.png,0,0,0,224,112,448,224\n")
    (sample,) = load_dataset("csv", tmp_path)
    assert PROTOCOLS.get("wsolevaluation").ground_truth(sample, sample.size).tolist() == [[0, 0, 113, 113]]
    options = {"dataset": "csv", "data_root": tmp_path, "assume_class_order": True, "device": "cpu"}
    assert wsol.evaluate(tiny_model, **options).metadata.clipped_boxes == 0


def test_broken_weights_are_named(tiny_model: Model, csv_data: Path) -> None:
    with torch.no_grad():
        tiny_model.network.linear.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"scores that are not finite .* check the weights"):
        wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu")


def test_equal_scores_rank_by_class_and_flat_maps_box_the_first_pixel(tiny_model: Model, csv_data: Path) -> None:
    with torch.no_grad():
        tiny_model.network.linear.weight.zero_()
        tiny_model.network.linear.bias.zero_()
    guesses = wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, device="cpu").predictions
    assert guesses[guesses["rank"] > 0].class_id.tolist() == [0, 1, 2, 3, 4] * 8
    assert (guesses[["x0", "y0", "x1", "y1"]] == [0, 0, 1, 1]).all(axis=None)


def test_an_unknown_device(csv_data: Path) -> None:
    with pytest.raises(InputError, match="device 'abacus' cannot be used here"):
        wsol.evaluate("resnet18", "w.pth", dataset="csv", data_root=csv_data, device="abacus")
    with pytest.raises(InputError, match="batch_size is 0"):
        wsol.evaluate("resnet18", "w.pth", dataset="csv", data_root=csv_data, batch_size=0)
    train = csv_data.rename(csv_data.with_name("train"))
    (train / "boxes.csv").write_text((train / "boxes.csv").read_text().replace(",test", ",train"))
    with pytest.raises(InputError, match="image labels only"):
        wsol.evaluate("resnet18", "w.pth", dataset=load_dataset("csv", train, "train"))
