"""The bundled network."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

import wsol
from wsol.datasets import load_dataset
from wsol.models import load_model
from wsol.models.architectures.vgg16_gap import VGG16GAP

FILE = Path(wsol.__file__).parent / "models" / "weights" / "vgg16-gap-synthetic.safetensors"


@pytest.mark.slow
def test_it_is_the_papers_network_in_half_precision() -> None:
    assert FILE.stat().st_size <= 40_000_000
    with safe_open(FILE, "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  # not a mapping
        kinds = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    assert shapes == {key: tuple(value.shape) for key, value in VGG16GAP(12).state_dict().items()}
    assert kinds == {"F16"}
    model = load_model("vgg16-gap")
    assert model.class_names == load_dataset("synthetic", dataset_args={"images": "1"}).classes
    assert model.network.features(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 14, 14)


@pytest.mark.sweep  # test_docs.py compares the numbers of the whole split with the README
def test_it_classifies_and_localizes() -> None:
    """A fifth of the test split; results/synthetic/README.md has the whole."""
    result = wsol.evaluate("vgg16-gap", limit=48, device="cpu")
    error = result.metrics.set_index("metric").loc["top1_cls_err", "value"]
    assert error <= 15
    known = result.metrics.query("metric == 'gt_known_loc_acc' and tau_rule == 'fixed'").value.item()
    rivals = result.baselines.query("metric == 'gt_known_loc_acc' and tau_rule == 'oracle'").value
    assert rivals.max() + 15 <= known <= 97


@pytest.mark.slow
def test_threads_and_batches_change_nothing(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for name, count, batch in (("one", 1, 8), ("more", 2, 3)):
            torch.set_num_threads(count)
            wsol.evaluate("vgg16-gap", limit=8, workers=count, batch_size=batch, device="cpu", out=tmp_path / name)
    finally:
        torch.set_num_threads(threads)
    one, more = tmp_path / "one", tmp_path / "more"
    tables = [pd.read_parquet(folder / "predictions.parquet") for folder in (one, more)]
    pd.testing.assert_frame_equal(*(table.drop(columns="score") for table in tables))
    for name in ("curves.npy", "curves_v2.npy"):
        assert np.array_equal(np.load(one / name), np.load(more / name))


def test_another_model_has_no_weights_of_its_own() -> None:
    with pytest.raises(wsol.InputError, match="vgg16-gmp: no weights; give --weights"):
        load_model("vgg16-gmp")
