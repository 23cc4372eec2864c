"""The self-check passes on this machine, and names every number that was made wrong."""

import importlib
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torchvision.models import vgg16

from wsol.__main__ import main as console
from wsol.boxes import resize
from wsol.datasets import load_dataset
from wsol.methods.cam import CAM
from wsol.metrics import bootstrap
from wsol.models import load_model
from wsol.models.architectures import vgg16_gap
from wsol.protocols import PROTOCOLS
from wsol.selfcheck import main
from wsol.selfchecks import environment, runner
from wsol.selfchecks.checks import bundled, gpu, metrics
from wsol.selfchecks.expect import assert_close
from wsol.selfchecks.outcome import CheckFailed
from wsol.selfchecks.reference import WEIGHTS

Run = Callable[..., tuple[int, list[str]]]
# A new protocol, or one of another package, needs no check; the module of a check has the name of its protocol.
CHECKED_PROTOCOLS = [name for name in PROTOCOLS.names() if PROTOCOLS.is_own(name) and name in runner.MODULES]


def title(line: str) -> str:
    return re.split("  +", line.strip())[1]


@pytest.fixture(autouse=True)
def _network_anew() -> Iterator[None]:
    bundled.load_network.cache_clear()
    yield
    bundled.load_network.cache_clear()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs some modules; returns the exit code and the failing lines, and checks the count in the last line."""

    def call(*modules: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(runner, "MODULES", modules)
        code = main([])
        printed = capsys.readouterr()
        assert printed.err == ""
        lines = printed.out.splitlines()
        checks = [line for line in lines if re.match(r" *\d+\.\d\d s  ", line)]
        wrong = [line for line in checks if "  WRONG: expected " in line]
        assert all(line in wrong or re.search(r"  ok( \(.+\))?$", line) for line in checks)
        last = f"{len(wrong)} of {len(checks)} checks are WRONG (" if wrong else f"all {len(checks)} checks are right ("
        assert lines[-1].startswith(last)
        return code, wrong

    return call


@pytest.mark.slow
def test_all_is_right_here_without_network_and_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    checks = re.findall(r"^ *[\d.]+ s  (.+?)  +ok", printed.out, re.M)
    assert len({*checks}) == len(checks) >= 39
    assert "WRONG" not in printed.out
    skipped = re.findall(r"^ *[\d.]+ s  (gpu: .+?)  +skipped: no GPU$", printed.out, re.M)
    assert len(skipped) == (0 if torch.cuda.is_available() else 2)
    left_out = f", {len(skipped)} skipped" if skipped else ""
    assert printed.out.splitlines()[-1].startswith(f"all {len(checks)} checks are right{left_out} (")
    assert re.search(rf"^torch +{re.escape(torch.__version__.split('+')[0])}", printed.out, re.M)
    for name in ("wsol", "python", "numba", "platform", "processor", "threads", "arithmetic", "device cpu"):
        assert re.search(rf"^{name}  *\S", printed.out, re.M), name
    assert [path for path in tmp_path.rglob("*") if path.name != "scratch"] == []


def test_the_published_protocols_are_checked() -> None:
    assert {"exact", "wsolevaluation", "zhou2016"} <= {*CHECKED_PROTOCOLS}


@pytest.mark.parametrize("name", CHECKED_PROTOCOLS)
def test_a_protocol_whose_box_is_a_pixel_off(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(name) == (0, [])
    protocol = type(PROTOCOLS.get(name))
    right = protocol.boxes

    def wider(self: object, *given: object) -> np.ndarray:
        found = right(self, *given)
        return found + np.array([0, 0, 1, 0]) * found.any(-1, keepdims=True)

    monkeypatch.setattr(protocol, "boxes", wider)
    code, wrong = run(name)
    assert code == 1
    found = [line for line in wrong if f"{name}: a rectangle" in line]
    assert re.search(
        r"WRONG: expected the (rectangle's )?box 40 60 14([01]) 12([01]), found 40 60 14[12] 12\2 at", *found
    )


def test_a_curve_that_is_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("base.best_iou", "zhou2016.best_iou", "_single_boxes.best_iou_curves"):
        monkeypatch.setattr(f"wsol.protocols.{function}", lambda boxes, *_: np.full(boxes.shape[:-1], 0.49))
    curves = importlib.import_module("wsol.protocols.wsolevaluation").contour_curves

    def curves_that_are_off(*arguments: object) -> tuple[np.ndarray, ...]:
        boxes, *ious = curves(*arguments)
        return boxes, *(np.full_like(each, 0.49) for each in ious)

    monkeypatch.setattr("wsol.protocols.wsolevaluation.contour_curves", curves_that_are_off)
    titles = [title(line) for line in run(*CHECKED_PROTOCOLS)[1]]
    assert "exact: a perfect mask scores 100 at every tau" in titles
    assert "wsolevaluation: IoU of the largest and of all contours" in titles
    assert "zhou2016: IoU of inclusive corners" in titles


def test_one_pixel_of_one_image(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic = importlib.import_module("wsol.datasets.synthetic")
    render = synthetic.render_pixels

    def render_wrong(split: str, index: int, config: object) -> np.ndarray:
        pixels = render(split, index, config).copy()
        pixels[30, 20, 1] ^= split == "val" and index == 17
        return pixels

    monkeypatch.setattr(synthetic, "render_pixels", render_wrong)
    code, (wrong,) = run("images")
    assert code == 1
    assert "WRONG: expected the SHA-256 of the pixels of val e877e92b83469993, found " in wrong


@pytest.mark.slow
def test_one_bias_of_the_network(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with safe_open(WEIGHTS, "pt") as file:
        state, known = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    state["features.28.bias"][:] += 0.5
    other = tmp_path / WEIGHTS.name
    save_file(state, other, known)
    monkeypatch.setattr(vgg16_gap, "BUNDLED", other)
    code, wrong = run("bundled", "end_to_end")
    assert code == 1
    titles = [title(line) for line in wrong]
    assert titles == [
        "bundled network: the published weights",
        "bundled network: class scores and map of an image",
        "end to end: a run on three images",
    ]
    assert f"expected the SHA-256 in signatures {bundled.SHA256}, found " in wrong[0]


def test_other_arithmetic(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resize, "CUBIC_A", np.float32(-0.5))  # Keys' other kernel
    resize.cubic_taps.cache_clear()
    _, wrong = run("upsampling", "wsolevaluation")
    resize.cubic_taps.cache_clear()
    assert [title(line) for line in wrong] == [
        "upsampling: one pixel, bicubic",
        "wsolevaluation: upsampling, then normalization",
    ]
    monkeypatch.setattr(bootstrap, "draw_counts", lambda n, seed: np.ones((1000, n), np.uint8))
    monkeypatch.setattr(CAM, "maps", lambda self, forward, classes: forward.features.relu() - 1)
    _, wrong = run("metrics", "activation")
    assert {title(line) for line in wrong} == {
        "intervals: known ends",
        "intervals: the published resamples",
        "cam: a network with weights set by hand",
    }


def test_a_broken_package_keeps_nothing_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, wrong = run("overlap", "gone")
    assert code == 1
    assert "expected every package, found these broken: pyarrow (ModuleNotFoundError: import of pyarrow" in wrong[0]
    assert "gone: import of the checks" in wrong[1]
    assert (
        "WRONG: expected no error, found ModuleNotFoundError: No module named 'wsol.selfchecks.checks.gone'" in wrong[1]
    )
    assert len(wrong) == 2


@pytest.mark.parametrize("package", ["numpy", "pandas"])
@pytest.mark.slow
def test_a_broken_package_that_everything_needs(package: str) -> None:
    code = f"import sys\nsys.modules['{package}'] = None\nfrom wsol.selfcheck import main\nsys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(rf"found these broken: .*{package} \(ModuleNotFoundError: import of {package} halted", done.stdout)
    assert re.search(r"^\d+ of \d+ checks are WRONG \(\d+ s\)$", done.stdout.splitlines()[-1])


def test_a_check_may_raise_anything(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room\nfor this")

    monkeypatch.setattr("wsol.selfchecks.checks.overlap.iou", fail)
    code, (wrong,) = run("overlap")
    assert code == 1
    assert wrong.endswith("  IoU: pairs of boxes" + " " * 41 + "WRONG: expected no error, found MemoryError: no room")


@pytest.mark.slow
def test_every_metric_of_a_gpu_is_compared_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "list_gpus", lambda: ["cuda:0"])
    networks = {"cpu": bundled.load_network("cpu"), "cuda:0": bundled.load_network("cpu")}
    monkeypatch.setattr(gpu, "load_network", networks.__getitem__)
    check = gpu.CHECKS["gpu: every metric of a run is that of the processor"]
    assert re.fullmatch(r"2\d metrics are equal on cuda:0", check() or "")
    networks["cuda:0"] = load_model("vgg16-gap")
    for layer in networks["cuda:0"].network.modules():
        if isinstance(layer, nn.Conv2d):  # as TF32 does, weights and inputs lose all but ten bits
            layer.weight.data = cut_bits(layer.weight.data)
            layer.register_forward_pre_hook(lambda _, inputs: (cut_bits(inputs[0]),))
    with pytest.raises(CheckFailed, match=r"^expected \w+( \w+)? on cuda:0 \d+\.\d{3}, found \d+\.\d{3}$"):
        check()
    run_network = bundled.run_network
    monkeypatch.setattr(bundled, "load_network", lambda _: networks["cuda:0"])
    monkeypatch.setattr(bundled, "run_network", lambda _: run_network("cpu"))
    with pytest.raises(CheckFailed, match=r"^expected the class score on cuda:0 "):
        gpu.CHECKS["gpu: class scores and map of an image"]()


def cut_bits(numbers: torch.Tensor) -> torch.Tensor:
    """Round float32 numbers to ten bits after the first."""
    return ((numbers.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.slow
def test_gpus_are_right(run: Run) -> None:
    assert run("gpu") == (0, [])


def test_the_reference_is_that_of_torchvisions_layers_in_double_precision() -> None:
    with safe_open(WEIGHTS, "pt") as file:
        state = {key: file.get_tensor(key).double() for key in file.keys()}  # noqa: SIM118  # not a mapping
    with torch.device("meta"):
        features = vgg16(weights=None, init_weights=False).features[:-1]
    features.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")}, assign=True)
    (sample,) = load_dataset("synthetic", dataset_args={"images": "1"})
    image = torch.from_numpy(sample.render()).double().permute(2, 0, 1)[None] / 255
    mean, std = (np.reshape(v, (3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    image = (image - torch.from_numpy(mean)) / torch.from_numpy(std)
    with torch.inference_mode():
        maps = functional.conv2d(
            features(image), state["conv6.weight"], state["conv6.bias"], padding=1, groups=2
        ).relu()
        maps = torch.tensordot(state["fc.weight"], maps[0], 1)
    assert sample.label == 11
    np.testing.assert_allclose(bundled.SCORES, maps.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(np.array(bundled.MAP.split(), float).reshape(14, 14), maps[11], atol=5.1e-4)


def test_the_resamples_are_numpys() -> None:
    drawn = [np.random.RandomState([0, resample]).randint(0, 8, 8) for resample in (0, 999)]
    assert [np.bincount(places, minlength=8).tolist() for places in drawn] == metrics.DRAWN


def test_comparisons_say_where() -> None:
    assert_close([[1, 2], [3, 4]], [[1, 2], [3, 4.5]], 0.5)
    assert_close(np.ones((3, 4)), [1, 1, 1, 1])
    with pytest.raises(CheckFailed, match=r"^expected the box 3 4\.5, found 3 4 at \(1,\)$"):
        assert_close([[1, 2], [3, 4]], [[1, 2], [3, 4.5]], 0.4, "the box")
    with pytest.raises(CheckFailed, match=r"^expected 0, found 7 at \(2, 10\)$"):
        assert_close(np.diag(np.arange(11.0))[8:] * (np.arange(11) == 10) * 0.7, np.zeros((3, 11)), 1)
    with pytest.raises(CheckFailed, match=r"^expected 1, found nan$"):
        assert_close(np.nan, 1, 5)
    with pytest.raises(CheckFailed, match=r"^expected the box of shape \(3,\), found \(2,\)$"):
        assert_close([1, 2], [1, 2, 3], 0, "the box")


def test_devices_and_versions_are_told_as_far_as_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(name="GPU", total_memory=3 << 29, major=9, minor=0)
    cuda = SimpleNamespace(device_count=lambda: 2, get_device_properties=lambda index: device)
    cudnn = SimpleNamespace(version=lambda: 91000)
    there = SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda="12.8"), backends=SimpleNamespace(cudnn=cudnn))
    monkeypatch.setattr(environment, "import_torch", lambda: there)
    facts = dict(environment.collect_facts())
    assert facts["device cuda:1"] == "GPU, 1.5 GiB, capability 9.0, CUDA 12.8, cuDNN 91000"
    assert facts["threads"].startswith("unknown (AttributeError: ")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(environment, "MODULES", {"not-installed": ""})
    facts = dict(environment.collect_facts())
    assert facts["device cuda"].startswith("unknown (ModuleNotFoundError: import of torch halted")
    assert facts["not-installed"].startswith("unknown (PackageNotFoundError")


def test_it_is_a_subcommand_and_help_does_not_wait_for_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["wsol", "selfcheck", "--help"])
    with pytest.raises(SystemExit, match="0"):
        console()
    assert "usage: wsol.selfcheck" in capsys.readouterr().out
    code = "import sys\nfrom wsol.selfcheck import main\ntry:\n    main(['-h'])\nexcept SystemExit:\n"
    code += "    assert not {'torch', 'numpy', 'pandas'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
