"""The examples of docs/streaming.md, in the packages that they are for."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "streaming.md"


def run_blocks(title: str) -> dict[str, Any]:
    """Run the code of the page that has no title, then that with this one; return its names."""
    blocks = re.findall(r'^```python(?: title="(\w+)")?\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), re.S | re.M)
    names: dict[str, Any] = {}
    for own, code in blocks:
        if own in ("", title):
            exec(compile(code, f"streaming.md, {own}", "exec"), names)
    return names


def compute_by_loop(names: dict[str, Any], net: torch.nn.Module) -> dict[str, float]:
    with torch.no_grad():
        for images, labels, boxes in names["loader"]:
            logits, maps = net.cpu()(images)
            names["metric"].update(maps, boxes, labels, logits)
    return names["metric"].compute()


def test_the_loop_has_five_lines() -> None:
    (code,) = re.findall(r"^```python\n(metric = .*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(code.splitlines()) <= 6  # with reset


@pytest.mark.slow
def test_in_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    names = run_blocks("lightning")
    module = names["Localizer"]()
    options = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=2, default_root_dir=tmp_path, **options)
    trainer.fit(module, names["loader"], names["loader"])  # a check of two batches, then two epochs
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = compute_by_loop(names, module.net)
    assert logged == pytest.approx({name: expected[name] for name in logged}, rel=1e-6)  # logged in single precision
    assert logged["n"] == 8
    assert {"max_box_acc_v2", "top1_loc_err"} <= {*logged}


@pytest.mark.slow
def test_in_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    # The folder datasets/ of this repository is no package.
    monkeypatch.setattr("transformers.trainer.is_datasets_available", lambda: False)
    names = run_blocks("trainer")
    rows = [{"pixel_values": image, "labels": label, "boxes": box} for image, label, box in names["data"]]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        remove_unused_columns=False,
        per_device_train_batch_size=4,
        num_train_epochs=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        metric_for_best_model="max_box_acc_v2",
        load_best_model_at_end=True,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    model = names["Classifier"]()
    trainer = transformers.Trainer(
        model, arguments, train_dataset=rows, eval_dataset=rows, callbacks=[names["Localization"]()]
    )
    trainer.train()
    found = trainer.evaluate()
    expected = compute_by_loop(names, model.net)
    assert {name: found[f"eval_{name}"] for name in expected} == pytest.approx(expected)
    assert found["eval_n"] == 8
    assert trainer.state.best_metric is not None
