"""The measurement as a whole: its tables, its files, stored maps, classes joined by name, and what it refuses."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_net import TinyNet

import wsol
from wsol.datasets import Dataset, load_dataset, read_batches
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.faithfulness import main
from wsol.models import Model, Preprocessing, find_gap
from wsol.perturbation import loop
from wsol.perturbation.measure import measure_faithfulness
from wsol.perturbation.settings import Settings

QUICK = Settings(parts=("deletion", "insertion", "drop"), steps=4)


@pytest.fixture
def small_model() -> Model:
    """A random network for images of 32 x 32, for which also ROAD is quick."""
    torch.manual_seed(3)
    network = TinyNet(12).eval()
    with torch.no_grad():
        network.fc.weight *= 40  # else all probabilities are alike
    return Model("tiny", find_gap(network, "tiny"), Preprocessing(), "random", "0" * 64, 12, side=32)


def config(model: Model | None, **more: object) -> EvalConfig:
    return EvalConfig(**{"model": model, "dataset": images(), "device": "cpu", "bootstrap": 0, "workers": 1, **more})


@cache
def images() -> Dataset:
    return load_dataset("synthetic", None, "test").limit(5)


def pixels(side: int) -> np.ndarray:
    (batch,) = read_batches(images().samples, side, 5, 1, skip_bad=False)
    return batch.pixels.copy()


@pytest.mark.slow
def test_curves_are_those_of_images_that_are_changed_one_by_one(small_model: Model) -> None:
    found = measure_faithfulness(config(small_model), QUICK)
    network = small_model.network
    normalized = small_model.preprocessing.normalize(pixels(32), torch.device("cpu"))
    with torch.no_grad():
        logits = network(normalized)
        features, _ = network.forward_features(normalized)
    chosen = logits.argmax(1)
    assert found.images["class_id"].tolist() == chosen.tolist()
    curves = []
    for i in range(5):
        raw = (network.linear.weight[chosen[i]][:, None, None] * features[i]).sum(0)
        doubled = raw[None, None].double()
        large = torch.nn.functional.interpolate(doubled, (32, 32), mode="bilinear", align_corners=False)[0, 0]
        prepared = ((large - large.min()) / (large.max() - large.min())).float()  # with equal pixels at the corners
        order = prepared.flatten().argsort(descending=True, stable=True)
        curve = []
        for step in range(5):
            changed = normalized[i].flatten(1).clone()
            changed[:, order[: 256 * step]] = 0
            with torch.no_grad():
                curve.append(network(changed.reshape(1, 3, 32, 32)).softmax(1)[0, chosen[i]].item())
        curves.append(curve)
        with torch.no_grad():
            masked = network((normalized[i] * prepared)[None]).softmax(1)[0, chosen[i]].item()
        row = found.images.iloc[i]
        assert row["probability"] == pytest.approx(curve[0], abs=1e-5)
        assert row["average_drop"] == pytest.approx(max(0, curve[0] - masked) / curve[0], abs=1e-4)
    deletion = found.curves[found.curves["curve"] == "deletion"]
    np.testing.assert_allclose(deletion["probability"], np.mean(curves, axis=0), atol=1e-5)
    np.testing.assert_array_equal(deletion["removed"], [0, 0.25, 0.5, 0.75, 1])
    insertion = found.curves[found.curves["curve"] == "insertion"]
    assert insertion["removed"].tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert insertion["probability"].iloc[-1] == deletion["probability"].iloc[0]
    values = found.metrics.set_index("metric")["value"]
    for name in ("deletion", "insertion", "average_drop", "increase"):
        assert values[name] == pytest.approx(100 * found.images[name].mean())
    assert found.cost.forwards_per_image == 1 + 2 + 2 * 4  # the map; image and image x map; two curves


@pytest.mark.slow
def test_no_bit_depends_on_threads_or_batches(small_model: Model) -> None:
    settings = Settings(steps=3)
    one = measure_faithfulness(config(small_model), settings)
    other = measure_faithfulness(config(small_model, workers=3, batch_size=2), settings)
    pd.testing.assert_frame_equal(one.images, other.images, check_exact=True)
    pd.testing.assert_frame_equal(one.curves, other.curves, check_exact=True)
    assert one.cost.forwards_per_image == 1 + 2 + 2 * 3 + 18
    assert one.signature.endswith(
        "|cam@32|faithfulness:class=predicted,steps=3,seed=0|tau:none|wsol:" + wsol.__version__
    )
    part = measure_faithfulness(config(small_model), replace(settings, parts=["road"]))
    assert part.images["road"].tolist() == one.images["road"].tolist()
    seeded = measure_faithfulness(config(small_model), replace(settings, parts=["road"], seed=1))
    assert seeded.images["road"].tolist() != one.images["road"].tolist()
    assert seeded.images["road"].to_numpy() == pytest.approx(one.images["road"].to_numpy(), abs=0.2)


def test_other_devices_take_the_images_of_a_batch_together(small_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(QUICK, parts=("deletion", "road"))
    one = measure_faithfulness(config(small_model), settings)
    monkeypatch.setattr(loop, "_is_cpu", lambda device: False)
    other = measure_faithfulness(config(small_model, batch_size=3), settings)
    pd.testing.assert_frame_equal(one.images, other.images, atol=1e-5)
    assert other.cost.forwards_per_image == one.cost.forwards_per_image == 1 + 1 + 4 + 18


def test_the_class_is_the_predicted_one_or_the_true_one(small_model: Model) -> None:
    truth = measure_faithfulness(config(small_model), replace(QUICK, target="truth"))
    labels = [sample.label for sample in images()]
    assert truth.images["class_id"].tolist() == truth.images["label"].tolist() == labels
    predicted = measure_faithfulness(config(small_model), QUICK)
    assert (predicted.images["probability"] >= truth.images["probability"]).all()


def test_classes_that_are_joined_by_name(tmp_path: Path) -> None:
    """Among the 12 classes of the data set, the outputs that are none of them take no part."""
    names = [*images().classes]
    (tmp_path / "names.txt").write_text("\n".join(["other", *names[::-1]]) + "\n")
    torch.manual_seed(3)
    network = TinyNet(13).eval()
    with torch.no_grad():
        network.fc.bias[0] = 50  # the output that is no class
    model = Model("tiny", find_gap(network, "tiny"), Preprocessing(), "random", "0" * 64, 13, side=32)
    with torch.no_grad():
        logits = model.network(model.preprocessing.normalize(pixels(32), torch.device("cpu")))
    joined = config(model, classes=tmp_path / "names.txt")
    own = logits[:, 1:].flip(1)
    found = measure_faithfulness(joined, QUICK).images
    assert found["class_id"].tolist() == own.argmax(1).tolist()
    assert found["probability"].to_numpy() == pytest.approx(own.softmax(1).max(1).values.numpy(), abs=1e-5)
    every = measure_faithfulness(replace(joined, rank_among="all"), QUICK).images
    assert every["class_id"].tolist() == [12] * 5  # 12 classes, then output 0
    assert (every["probability"] > 0.99).all()


@pytest.mark.slow
def test_maps_of_a_run(tmp_path: Path, small_model: Model) -> None:
    wsol.evaluate(small_model, dataset=images(), method="gradcam++", out=tmp_path / "run", bootstrap=0)
    stored = measure_faithfulness(config(small_model), QUICK, run=tmp_path / "run")
    own = measure_faithfulness(config(small_model, method="gradcam++"), QUICK)
    assert stored.signature == own.signature
    pd.testing.assert_frame_equal(stored.images, own.images, atol=1e-6)
    for other, difference in (
        (config(small_model, limit=4), "dataset: synthetic-test#5"),
        (config(replace(small_model, sha256="1" * 64)), "model: tiny:00000000, not tiny:11111111"),
        (config(small_model, method="layercam"), r"method: gradcam\+\+@32, not layercam@32"),
    ):
        with pytest.raises(InputError, match=difference):
            measure_faithfulness(other, QUICK, run=tmp_path / "run")
    wsol.score(baseline="center-box", dataset=images(), out=tmp_path / "boxes", bootstrap=0)
    with pytest.raises(InputError, match="has no score maps of a network"):
        measure_faithfulness(config(small_model), QUICK, run=tmp_path / "boxes")


def test_files(tmp_path: Path, small_model: Model) -> None:
    out = tmp_path / "out"
    found = measure_faithfulness(config(small_model, out=out, bootstrap=1000), QUICK)
    assert sorted(path.name for path in out.iterdir()) == [
        "curves.csv", "faithfulness.json", "images.csv", "metrics.csv",
    ]  # fmt: skip
    for name in ("metrics", "images", "curves"):
        table = pd.read_csv(out / f"{name}.csv")
        assert set(table.pop("signature")) == {found.signature}
        pd.testing.assert_frame_equal(table, getattr(found, name))
    facts = json.loads((out / "faithfulness.json").read_text())
    assert facts["signature"] == found.signature
    assert {row["metric"]: row["value"] for row in facts["metrics"]} == pytest.approx(
        found.metrics.set_index("metric")["value"].to_dict()
    )
    rows = found.metrics.to_dict("records")
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] and row["n"] == 5 for row in rows)
    text = found.format()
    assert text.startswith(found.signature)
    assert "5 images, 11 forward passes per image, " in text
    measure_faithfulness(config(small_model, out=out), QUICK)  # the same again
    with pytest.raises(InputError, match="holds another measurement"):
        measure_faithfulness(config(small_model, out=out), replace(QUICK, steps=5))
    (out / "notes.txt").touch()
    with pytest.raises(InputError, match=r"files of something other than a measurement \(notes.txt\)"):
        measure_faithfulness(config(small_model, out=out), QUICK)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"tau": 0.3, "attribution": True}, "tau and attribution would have no effect on faithfulness"),
        ({"precision": "bfloat16"}, "precision would have no effect"),
        ({"method": "gradcamm"}, "unknown method 'gradcamm'"),
    ],
)
def test_arguments_without_effect_are_refused(small_model: Model, more: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        measure_faithfulness(config(small_model, **more), QUICK)


@pytest.mark.parametrize(
    "settings", [{"parts": ("deletions",)}, {"parts": ()}, {"target": "true"}, {"steps": 0}, {"seed": -1}]
)
def test_settings_are_checked(settings: dict) -> None:
    with pytest.raises(InputError, match="give "):
        Settings(**settings)


def test_the_command(tmp_path: Path, weights: Path, csv_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--model", "squeezenet1_1", "--weights", str(weights), "--dataset", "csv", "--data-root", str(csv_data)]
    call += ["--limit", "2", "--device", "cpu", "--parts", "drop,deletion", "--steps", "2"]
    call += ["--out", str(tmp_path / "x")]
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("csv-test#2:")
    for part in ("deletion (lower", "average drop", "increase", "2 images, 5 forward passes", "images/s on cpu"):
        assert part in printed
    assert "ROAD" not in printed
    assert main([*call[:-2], "--class", "truth", "--parts", "x"]) == 2
    assert "the parts are x; give some of deletion, insertion, drop, road" in capsys.readouterr().err


@pytest.mark.slow
def test_unreadable_images_are_said(
    tmp_path: Path, weights: Path, csv_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--model", "squeezenet1_1", "--weights", str(weights), "--dataset", "csv", "--data-root", str(csv_data)]
    call += ["--device", "cpu", "--parts", "drop", "--out", str(tmp_path / "y")]
    (csv_data / "01.png").write_bytes(b"GIF89a")
    assert main(call) == 2
    assert "or give --skip-bad-images" in capsys.readouterr().err
    assert main([*call, "--skip-bad-images"]) == 0
    assert "1 unreadable images are NOT in these numbers" in capsys.readouterr().out
