"""Trainings from end to end on tiny images."""

import json
from pathlib import Path

import pandas as pd
import pytest
import safetensors
import safetensors.torch
import torch
import torchvision.models

import wsol
from wsol.errors import InputError
from wsol.models import load_model
from wsol.training import Recipe, Stage, read_stages, train
from wsol.training.log import Log

ARGS = {"images": "24", "size": "32", "object_scale": "0.6"}
TWO = Recipe((Stage(2, 32, 8, {"distractors": "0"}), Stage(1, 48, 4, {"size": "48"})), learning_rate=0.01)


def run(out: Path, model: str = "shufflenet_v2_x0_5-gap", recipe: Recipe = TWO, **more: object) -> Path | None:
    return train(model, "synthetic", recipe, dataset_args=ARGS, device="cpu", out=out, **more)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    assert run(out) == out / "shufflenet_v2_x0_5-gap.safetensors"
    return out


@pytest.mark.slow
def test_an_interrupted_training_ends_like_one_that_was_not(whole: Path, tmp_path: Path) -> None:
    assert run(tmp_path, stop_after=1) is None
    assert run(tmp_path, stop_after=1) is None
    path = run(tmp_path)
    mine, theirs = tensors(path), tensors(whole / path.name)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert (tmp_path / "log.csv").read_bytes() == (whole / "log.csv").read_bytes()
    assert path.read_bytes() == (whole / path.name).read_bytes()


@pytest.mark.slow
def test_another_seed_trains_another_network(whole: Path, tmp_path: Path) -> None:
    path = run(tmp_path, recipe=Recipe(TWO.stages, learning_rate=0.01, seed=1))
    mine, theirs = tensors(path), tensors(whole / path.name)
    assert not torch.equal(mine["fc.weight"], theirs["fc.weight"])


@pytest.mark.slow
def test_another_training_in_the_same_folder_is_refused(whole: Path) -> None:
    with pytest.raises(InputError, match=r"learning_rate = 0\.01, not 0\.02"):
        run(whole, recipe=Recipe(TWO.stages, learning_rate=0.02))
    with pytest.raises(InputError, match="map_size = None, not 14"):
        run(whole, map_size=14)


def test_the_log_has_a_row_an_epoch_and_a_picture(whole: Path) -> None:
    log = pd.read_csv(whole / "log.csv")
    assert [*log.columns] == ["epoch", "image_size", "learning_rate", "train_loss", "train_err", "val_err"]
    assert log["epoch"].tolist() == [1, 2, 3]
    assert log["image_size"].tolist() == [32, 32, 48]
    assert (whole / "log.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_weights_file_alone_is_enough_to_evaluate(whole: Path, tmp_path: Path) -> None:
    path = whole / "shufflenet_v2_x0_5-gap.safetensors"
    result = wsol.evaluate(weights=path, dataset_args={"images": "6"}, out=tmp_path / "run", device="cpu")
    assert result.metadata.provenance.network.model == "shufflenet_v2_x0_5-gap"
    model = load_model(None, path)
    assert model.class_names[:2] == ("fur-red-gravel", "fur-green-coin")
    with safetensors.safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["wsol"])
    assert facts["recipe"]["stages"][1]["image_size"] == 48
    assert facts["scores"]["epoch"] == 3
    with pytest.raises(InputError, match="was trained as shufflenet_v2_x0_5-gap, not resnet18"):
        load_model("resnet18", path)


@pytest.mark.slow
def test_the_map_size_is_in_the_file(tmp_path: Path) -> None:
    path = run(tmp_path, recipe=Recipe((Stage(1, 32, 8),)), map_size=14)
    features = load_model(None, path).network.features(torch.zeros(1, 3, 224, 224))
    assert features.shape[2:] == (14, 14)


@pytest.mark.slow
def test_frozen_features_stay_and_the_linear_layer_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = torchvision.models.resnet18().state_dict()
    torch.save(backbone, tmp_path / "resnet18.pth")
    recipe = Recipe((Stage(20, 32, 8),), learning_rate=0.05)
    more = {"model": "resnet18-gap", "recipe": recipe, "weights": tmp_path / "resnet18.pth", "freeze": "features"}
    path = run(tmp_path / "a", **more)
    trained = tensors(path)
    assert all(torch.equal(trained[f"backbone.body.{key}"], backbone[key]) for key in backbone if key[:2] != "fc")
    log = pd.read_csv(tmp_path / "a" / "log.csv")
    assert log["train_loss"].iloc[-1] < 0.8 * log["train_loss"].iloc[0]
    assert run(tmp_path / "b", **more, stop_after=11) is None
    assert run(tmp_path / "b", **more).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_frozen_features_must_not_be_random(tmp_path: Path) -> None:
    torch.save(torchvision.models.alexnet().state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(InputError, match=r"lack 2 tensors of the features, the first is added\.0\.weight"):
        run(
            tmp_path / "out",
            "alexnet-gap",
            Recipe((Stage(1, 96, 8),)),
            weights=tmp_path / "alexnet.pth",
            freeze="features",
        )


def test_the_same_command_after_the_end_changes_nothing(whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.suffix != ".png"}
    run(whole)
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.suffix != ".png"} == before


def test_damaged_files_are_named(tmp_path: Path) -> None:
    recipe = Recipe((Stage(2, 32, 8),))
    run(tmp_path, recipe=recipe, stop_after=1)
    (tmp_path / "log.csv").unlink()
    with pytest.raises(InputError, match=r"log\.csv cannot be read"):
        run(tmp_path, recipe=recipe)
    (tmp_path / "log.csv").write_text("epoch\n")
    with pytest.raises(InputError, match=r"has 0 epochs, but state\.safetensors has 1"):
        run(tmp_path, recipe=recipe)
    (tmp_path / "state.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(InputError, match="is not the state of a training"):
        run(tmp_path, recipe=recipe)


def test_the_log_keeps_every_digit(tmp_path: Path) -> None:
    rows = [{"epoch": float(i), "train_loss": x} for i, x in enumerate([0.1 + 0.2, 1 / 3, 2.2250738585072014e-308], 1)]
    log = Log(tmp_path, 0)
    for row in rows:
        log.add_row(row, 1.0)
    first = (tmp_path / "log.csv").read_bytes()
    again = Log(tmp_path, 2)
    assert again.rows[-1]["train_loss"] == 1 / 3
    again.add_row(rows[2], 1.0)
    assert (tmp_path / "log.csv").read_bytes() == first


def test_a_missing_val_split_is_known_before_the_first_epoch(tmp_path: Path, csv_data: Path) -> None:
    table = csv_data / "boxes.csv"
    table.write_text(table.read_text().replace(",val\n", ",train\n"))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="val"):
        train("shufflenet_v2_x0_5", "csv", Recipe((Stage(1, 32, 4),)), data_root=csv_data, device="cpu", out=out)
    assert not out.exists()


def test_images_too_small_for_the_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="alexnet-gap cannot take images of 16 x 16"):
        run(tmp_path, "alexnet-gap", Recipe((Stage(1, 16, 8),)))


@pytest.mark.slow
def test_a_last_batch_of_one_image(tmp_path: Path) -> None:
    more = {"images": "9", "size": "32", "object_scale": "0.6"}
    train("shufflenet_v2_x0_5-gap", "synthetic", Recipe((Stage(1, 32, 8),)), dataset_args=more, out=tmp_path)


def test_frozen_features_need_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --weights"):
        run(tmp_path, recipe=Recipe((Stage(1, 32, 8),)), freeze="features")


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    recipe = Recipe((Stage(24, 48, 12),), learning_rate=0.06)
    easy = {"images": "48", "size": "48", "object_scale": "0.7", "part_size": "0.8", "distractors": "0"}
    train("shufflenet_v2_x0_5-gap", "synthetic", recipe, dataset_args=easy, device="cpu", out=tmp_path)
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["train_loss"].iloc[0] > 2.2  # chance: ln 12 = 2.48
    assert log["train_loss"].iloc[-1] < 1.8


@pytest.mark.slow
def test_half_precision_halves_the_file_and_keeps_the_scores(whole: Path, tmp_path: Path) -> None:
    path = run(tmp_path, half=True)
    full = whole / path.name
    assert path.stat().st_size < 0.6 * full.stat().st_size
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    a, b = (load_model(None, p).network(image) for p in (path, full))
    assert torch.allclose(a, b, atol=0.02)


@pytest.mark.slow
def test_bare_gap_classifiers_train_too(tmp_path: Path) -> None:
    path = run(tmp_path, "shufflenet_v2_x0_5", Recipe((Stage(1, 32, 8),)), validation=False)
    assert "val_err" not in pd.read_csv(tmp_path / "log.csv")
    assert load_model(None, path).classes == 12


def test_a_loss_that_overflows_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give a --learning-rate below 1e\+29"):
        run(tmp_path, recipe=Recipe((Stage(3, 32, 8),), learning_rate=1e29))


def test_stages_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("[[stage]]\nepochs = 2\nimage_size = 64\n[[stage]]\ndataset_args = { images = 3 }\n")
    assert read_stages(file) == (Stage(2, 64), Stage(dataset_args={"images": "3"}))
    texts = ["[[stage]]\nepoch = 2\n", "[[stage]]\nepochs = 0\n", "[[stage]]\nepochs = true\n", "x = 1\n", "[[stage]\n"]
    for text in [*texts, "[stage]\nepochs = 2\n", "[[stage]]\ndataset_args = 3\n"]:
        file.write_text(text)
        with pytest.raises(InputError, match="is not a list of stages"):
            read_stages(file)
    with pytest.raises(InputError, match="no stages file"):
        read_stages(tmp_path / "none.toml")


def test_a_csv_file_without_splits_names_the_column_and_the_option(csv_data: Path, tmp_path: Path) -> None:
    small = Recipe((Stage(1, 32, 8),))
    with pytest.raises(
        InputError, match=r"no row of the split train; write train into a column split.*--no-validation"
    ):
        train("shufflenet_v2_x0_5", "csv", small, data_root=csv_data, device="cpu", out=tmp_path / "run")
    header, *lines = (csv_data / "boxes.csv").read_text().splitlines()
    rows = [header, *(f"{line.rsplit(',', 1)[0]},train" for line in lines[:5])]
    (csv_data / "boxes.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=r"no row of the split val; .* a column split .*; --no-validation trains with"):
        train("shufflenet_v2_x0_5", "csv", small, data_root=csv_data, device="cpu", out=tmp_path / "run")
