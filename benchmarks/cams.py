"""Holds the cost of every method against the bare forward pass, and against the packages that have it too.

    python benchmarks/cams.py [--model resnet50] [--batch-size 16] [--rounds 5] [--channels-last] [--methods ...]
    python benchmarks/cams.py --slow

Each number is the whole cost of the maps of a batch, forward pass and all. Network with random weights, images, classes
and target layer are the same on all sides, which are timed in turn in every round; ratios are to the bare pass of the
same round, and medians over rounds. Bare is ``model(images)`` in inference mode. The packages are called as their users
do: parameters require gradients, as torchvision has them, where wsol's are loaded without (each side has a copy of the
network); what takes one class at a time is called once for each, and torchcam keeps its graph in between. grad-cam also
scales its maps and resizes them to the image, which cannot be switched off. captum gives no class scores: it gets the
forward pass that they take.

MiB is by how much the peak of memory grows over that of a bare pass, each in a process of its own: resident memory, on
Linux; on a GPU what is allocated. --slow takes the methods that run the network many times, by themselves, with few
samples; captum's occlusion hides 16 places at once. Their one limit is the packages, and that leaves 5 % to noise.
"""

import argparse
import contextlib
import copy
import importlib
import io
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from wsol.methods import find_method, forward
from wsol.models import find_classifier

Call = Callable[[Tensor, Tensor], object]  # of images and classes (n, k)

PACKAGES = ["wsol", "grad-cam", "torchcam", "captum"]
CHEAP = {  # by package, the name of the class there
    "cam": {"torchcam": "CAM"},
    "gradcam": {"grad-cam": "GradCAM", "torchcam": "GradCAM", "captum": "LayerGradCam"},
    "gradcam++": {"grad-cam": "GradCAMPlusPlus", "torchcam": "GradCAMpp"},
    "xgradcam": {"grad-cam": "XGradCAM", "torchcam": "XGradCAM"},
    "layercam": {"grad-cam": "LayerCAM", "torchcam": "LayerCAM"},
    "hirescam": {"grad-cam": "HiResCAM"},
    "gradcam-elementwise": {"grad-cam": "GradCAMElementWise"},
    "eigencam": {"grad-cam": "EigenCAM"},
}
SLOW = {
    "scorecam": {"grad-cam": "ScoreCAM", "torchcam": "ScoreCAM"},
    "ablationcam": {"grad-cam": "AblationCAM"},
    "smoothgradcam++": {"torchcam": "SmoothGradCAMpp"},
    "ss-cam": {"torchcam": "SSCAM"},
    "is-cam": {"torchcam": "ISCAM"},
    "fullgrad": {"grad-cam": "FullGrad"},
    "backprop": {"captum": "Saliency"},
    "guided-backprop": {"captum": "GuidedBackprop"},
    "integrated-gradients": {"captum": "IntegratedGradients"},
    "occlusion": {"captum": "Occlusion"},
}
METHODS = CHEAP | SLOW
# Settings of ours, and the same of theirs.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "smoothgradcam++": ("samples=4", {"num_samples": 4}),
    "ss-cam": ("samples=2", {"num_samples": 2}),
    "is-cam": ("samples=2", {"num_samples": 2}),
    "integrated-gradients": ("steps=5", {"n_steps": 5}),
    "occlusion": (
        "window=64,stride=32",
        {"sliding_window_shapes": (3, 64, 64), "strides": (3, 32, 32), "perturbations_per_eval": 16},
    ),
}
# Of the ratio to the bare pass, by number of classes; and of that to a package.
GRADIENTS = {1: 1.15, 6: 1.4}
LIMITS = {"cam": {1: 1.05}, "gradcam": GRADIENTS, "gradcam++": GRADIENTS, "xgradcam": GRADIENTS}
LIMITS |= {"layercam": GRADIENTS, "hirescam": GRADIENTS}
NOISE = 1.05


def with_grad_cam(name: str, network: nn.Module, layer: nn.Module) -> Call:
    """Theirs: a call gives the maps of one class of each image."""
    package = importlib.import_module("pytorch_grad_cam")
    kind, target = getattr(package, name), package.utils.model_targets.ClassifierOutputTarget
    layers = [] if name == "FullGrad" else [layer]  # it looks for its layers itself

    def call(images: Tensor, classes: Tensor) -> None:
        with kind(network, layers) as cam, contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            for column in classes.T.tolist():
                cam(input_tensor=images, targets=[target(c) for c in column])

    return call


def with_torchcam(name: str, network: nn.Module, layer: nn.Module, arguments: dict[str, Any]) -> Call:
    """Theirs: one forward pass, then the maps of one class of each image in a call."""
    methods = importlib.import_module("torchcam.methods")
    kind = getattr(methods, name)
    gradients = issubclass(kind, methods.GradCAM.__base__)
    if name == "CAM":
        arguments = {"fc_layer": [module for module in network.modules() if isinstance(module, nn.Linear)][-1]}

    def call(images: Tensor, classes: Tensor) -> None:
        columns = classes.T.tolist()
        with kind(network, layer, **arguments) as extractor:
            with torch.set_grad_enabled(gradients):
                scores = network(images)
            for i, column in enumerate(columns):
                kept = {"retain_graph": i + 1 < len(columns)} if gradients else {}
                extractor(class_idx=column, scores=scores, normalized=False, **kept)

    return call


def with_captum(name: str, network: nn.Module, layer: nn.Module, arguments: dict[str, Any]) -> Call:
    """Theirs: a call gives the attributions of one class of each image."""
    kind = getattr(importlib.import_module("captum.attr"), name)
    method = kind(network, layer) if name.startswith("Layer") else kind(network)

    def call(images: Tensor, classes: Tensor) -> None:
        with torch.inference_mode():
            network(images)  # the class scores, which all others have
        leaf = images.detach().requires_grad_(name in ("Saliency", "GuidedBackprop"))
        for column in classes.T:
            method.attribute(leaf, target=column, **arguments)

    return call


class Bench:
    """A network, twice, and what runs on it.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        name = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        form = torch.channels_last if options.channels_last else torch.contiguous_format
        self.device = torch.device(name)
        self.theirs = torchvision.models.get_model(options.model, weights=None).eval()
        self.theirs.to(self.device, memory_format=form)
        self.ours = copy.deepcopy(self.theirs).requires_grad_(False)
        self.classifier = find_classifier(self.ours, options.model, options.layer)
        self.images = torch.randn(options.batch_size, 3, 224, 224).to(self.device, memory_format=form)
        self.layer = self._layer()

    def _layer(self) -> nn.Module | None:
        """Return the outermost module that gives what the target layer gives; None if there is none."""
        found: list[nn.Module] = []

        def look(module: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor) and output.shape == features.shape and torch.allclose(output, features):
                found.append(module)

        with torch.inference_mode():
            features, _ = self.classifier.lower(self.images[:1])
            hooks = [module.register_forward_hook(look) for module in self.theirs.modules()]
            self.theirs(self.images[:1])
        for hook in hooks:
            hook.remove()
        return found[-1] if found else None

    def bare(self, images: Tensor, _: Tensor) -> None:
        """The forward pass alone."""
        with torch.inference_mode():
            self.ours(images)

    def side(self, method: str, package: str) -> Call | None:
        """Return what makes maps with a package; None if it has no such method, or the network no such module."""
        settings, arguments = SETTINGS.get(method, ("", {}))
        if package == "wsol":
            own = find_method(f"{method}:{settings}")
            return lambda images, classes: own.maps(forward(self.classifier, images), classes)
        name = METHODS[method].get(package)
        if name is None or self.layer is None:
            return None
        if package == "grad-cam":
            return with_grad_cam(name, self.theirs, self.layer)
        if name == "CAM" and getattr(self.classifier, "linear", None) is None:
            return None
        made = with_torchcam if package == "torchcam" else with_captum
        return made(name, self.theirs, self.layer, arguments)

    def classes(self, k: int) -> Tensor:
        """Return k classes for each image."""
        return (torch.arange(len(self.images))[:, None] * 7 + torch.arange(k) * 31).remainder(1000).to(self.device)

    def seconds(self, call: Call, classes: Tensor) -> float:
        """Return what a call takes."""
        start = time.perf_counter()
        call(self.images, classes)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def growth(self, method: str, package: str, k: int) -> float:
        """Return by how many MiB a call's peak is above that of a bare pass; only once in a process."""
        call, classes, status = self.side(method, package), self.classes(k), Path("/proc/self/status")
        assert call is not None

        def peak() -> float:
            if self.device.type == "cuda":
                return torch.cuda.max_memory_allocated() / 2**20
            return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10

        call(self.images[:1, :, :64, :64], classes[:1])  # what is loaded on the first call is not its memory
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            status.with_name("clear_refs").write_text("5")  # the peak starts anew
        self.bare(self.images, classes)
        before = peak()
        call(self.images, classes)
        return peak() - before


def in_child(*words: str) -> float:
    """Return what ``growth`` measures in a process of its own, with the same options."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak", *words]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()[-1])


def compare(bench: Bench, method: str, k: int, options: argparse.Namespace) -> bool:
    """Times one method on all sides, prints a line and says whether it keeps its limits."""
    classes = bench.classes(k)
    sides = {name: call for name in options.packages if (call := bench.side(method, name))}
    times: dict[str, list[float]] = {name: [] for name in ("bare", *sides)}
    for call in sides.values():
        call(bench.images[:1, :, :64, :64], classes[:1])  # loads what is loaded late
    for _ in range(options.rounds):
        for name, call in {"bare": bench.bare, **sides}.items():
            times[name].append(bench.seconds(call, classes))

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    ms = {name: 1000 * statistics.median(taken) / len(bench.images) for name, taken in times.items()}
    line = f"{method:20} {ms['bare']:8.1f}"
    for name in options.packages:
        if name in sides:
            mib = f"{in_child(method, name, str(k)):6.0f} MiB" if options.memory else ""
            line += f" |{ms[name]:9.1f} {ratio(name, 'bare'):7.2f} x {mib:10}"
        else:
            line += f" |{'':30}"
    limit, held = LIMITS.get(method, {}).get(k), True
    if "wsol" in sides:
        held = limit is None or ratio("wsol", "bare") <= limit
        held &= all(ratio("wsol", name) <= NOISE for name in sides)
    print(f"{line} | {limit or '':4}{'' if held else ' MISSED'}".rstrip(), flush=True)
    return held


def main() -> int:
    """Print a table for each number of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slow", action="store_true", help="the methods that run the network many times")
    parser.add_argument("--model", help="resnet50; resnet18 with --slow")
    parser.add_argument("--layer", help="the target layer, instead of the one that is found")
    parser.add_argument("--batch-size", type=int, help="16; 1 with --slow")
    parser.add_argument("--classes", type=int, nargs="+", metavar="K", help="1 and 6; 1 with --slow")
    parser.add_argument("--rounds", type=int, help="5; 3 with --slow")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD")
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=PACKAGES, metavar="PACKAGE")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="measure no memory")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    usual: dict[str, Any] = {"model": "resnet50", "batch_size": 16, "classes": [1, 6], "rounds": 5, "methods": CHEAP}
    slow: dict[str, Any] = {"model": "resnet18", "batch_size": 1, "classes": [1], "rounds": 3, "methods": SLOW}
    options = parser.parse_args()
    for name, value in (slow if options.slow else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    warnings.simplefilter("ignore")
    bench = Bench(options)
    if options.peak:
        method, package, k = options.peak
        print(bench.growth(method, package, int(k)))
        return 0
    print(
        f"{options.model} ({bench.classifier.layer}), batch of {options.batch_size}, {bench.device}, "
        f"{torch.get_num_threads()} threads{', channels last' if options.channels_last else ''}; "
        "ms an image, ratio to the bare pass, peak memory beyond it"
    )
    held = True
    for k in options.classes:
        print(f"\n{f'{k} class' if k == 1 else f'{k} classes':20} {'bare':>8}", end="")
        print(*(f" |{name:^30}" for name in options.packages), " | limit", sep="")
        for method in options.methods:
            held &= compare(bench, method, k, options)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
