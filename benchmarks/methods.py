"""Compare the cost of every method with the bare forward pass, and with other packages that have the method.

    python benchmarks/methods.py [--model resnet50] [--batch-size 16] [--rounds 5] [--channels-last] [--methods ...]
    python benchmarks/methods.py --slow

Each number is the total cost of the maps of a batch, including the forward pass. The network (with random weights),
the images, the classes and the target layer are the same for all packages, which are timed in turn in every round.
Ratios are to the bare pass of the same round; medians over rounds are printed. Bare is ``model(images)`` in inference
mode. The packages are called as their users call them: parameters require gradients, as in torchvision, whereas wsol
loads networks without (wsol and the others have their own copy of the network). A package that takes one class at a
time is called once per class, and torchcam keeps its graph in between. grad-cam also scales its maps and resizes them
to the image, which cannot be turned off. captum returns no class scores: the forward pass for them is added.

MiB is the growth of the memory peak over that of a bare pass, measured in one process each: resident memory on Linux,
allocated memory on a GPU. ``--slow`` runs only the methods that run the network many times, with few samples; captum's
occlusion masks 16 places at once. Their only limit is the other packages, with 5 % for noise.
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

Call = Callable[[Tensor, Tensor], object]  # takes images and classes (n, k)

PACKAGES = ["wsol", "grad-cam", "torchcam", "captum"]
CHEAP = {  # class of each method in each package
    "cam": {"torchcam": "CAM"},
    "gradcam": {"grad-cam": "GradCAM", "torchcam": "GradCAM", "captum": "LayerGradCam"},
    "gradcam++": {"grad-cam": "GradCAMPlusPlus", "torchcam": "GradCAMpp"},
    "xgradcam": {"grad-cam": "XGradCAM", "torchcam": "XGradCAM"},
    "layercam": {"grad-cam": "LayerCAM", "torchcam": "LayerCAM"},
    "hirescam": {"grad-cam": "HiResCAM"},
    "gradcam-elementwise": {"grad-cam": "GradCAMElementWise"},
    "eigencam": {"grad-cam": "EigenCAM"},
    "eigengradcam": {"grad-cam": "EigenGradCAM"},
    "shapleycam": {"grad-cam": "ShapleyCAM"},
    "bagcams": {},
    "nwc": {},
    "fem": {"grad-cam": "FEM"},
    "kpca-cam": {"grad-cam": "KPCA_CAM"},
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
# Settings of wsol, and the same settings of the package.
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
# Limits of the ratio to the bare pass, by number of classes; NOISE is that of the ratio to a package.
GRADIENTS = {1: 1.15, 6: 1.4}
LIMITS = {"cam": {1: 1.05}, "gradcam": GRADIENTS, "gradcam++": GRADIENTS, "xgradcam": GRADIENTS}
LIMITS |= {"layercam": GRADIENTS, "hirescam": GRADIENTS}
NOISE = 1.05


def with_grad_cam(name: str, network: nn.Module, layer: nn.Module) -> Call:
    """Return a call of grad-cam, which computes the maps of one class per image at a time."""
    package = importlib.import_module("pytorch_grad_cam")
    kind, target = getattr(package, name), package.utils.model_targets.ClassifierOutputTarget
    layers = [] if name == "FullGrad" else [layer]  # it finds its layers itself

    def call(images: Tensor, classes: Tensor) -> None:
        with kind(network, layers) as cam, contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            for column in classes.T.tolist():
                cam(input_tensor=images, targets=[target(c) for c in column])

    return call


def with_torchcam(name: str, network: nn.Module, layer: nn.Module, arguments: dict[str, Any]) -> Call:
    """Return a call of torchcam: one forward pass, then the maps of one class per image at a time."""
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
                options = {"retain_graph": i + 1 < len(columns)} if gradients else {}
                extractor(class_idx=column, scores=scores, normalized=False, **options)

    return call


def with_captum(name: str, network: nn.Module, layer: nn.Module, arguments: dict[str, Any]) -> Call:
    """Return a call of captum, which computes the attributions of one class per image at a time."""
    kind = getattr(importlib.import_module("captum.attr"), name)
    method = kind(network, layer) if name.startswith("Layer") else kind(network)

    def call(images: Tensor, classes: Tensor) -> None:
        with torch.inference_mode():
            network(images)  # for the class scores, which the others return
        leaf = images.detach().requires_grad_(name in ("Saliency", "GuidedBackprop"))
        for column in classes.T:
            method.attribute(leaf, target=column, **arguments)

    return call


class Bench:
    """Two copies of a network, and the calls that are timed on them.

    Args:
        options: Options of the command line.
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
        self.layer = self._find_layer()

    def _find_layer(self) -> nn.Module | None:
        """Return the outermost module with the output of the target layer; None if there is none."""
        modules: list[nn.Module] = []

        def compare_output(module: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor) and output.shape == features.shape and torch.allclose(output, features):
                modules.append(module)

        with torch.inference_mode():
            features, _ = self.classifier.forward_features(self.images[:1])
            hooks = [module.register_forward_hook(compare_output) for module in self.theirs.modules()]
            self.theirs(self.images[:1])
        for hook in hooks:
            hook.remove()
        return modules[-1] if modules else None

    def run_bare(self, images: Tensor, _: Tensor) -> None:
        """Run the forward pass alone."""
        with torch.inference_mode():
            self.ours(images)

    def make_call(self, method: str, package: str) -> Call | None:
        """Return a call that computes maps with a package; None if the package or the network does not support it."""
        settings, arguments = SETTINGS.get(method, ("", {}))
        if package == "wsol":
            chosen = find_method(f"{method}:{settings}")
            return lambda images, classes: chosen.maps(forward(self.classifier, images), classes)
        name = METHODS[method].get(package)
        if name is None or self.layer is None:
            return None
        if package == "grad-cam":
            return with_grad_cam(name, self.theirs, self.layer)
        if name == "CAM" and getattr(self.classifier, "linear", None) is None:
            return None
        make = with_torchcam if package == "torchcam" else with_captum
        return make(name, self.theirs, self.layer, arguments)

    def classes(self, k: int) -> Tensor:
        """Return k classes for each image."""
        return (torch.arange(len(self.images))[:, None] * 7 + torch.arange(k) * 31).remainder(1000).to(self.device)

    def measure_seconds(self, call: Call, classes: Tensor) -> float:
        """Return the seconds that a call takes."""
        start = time.perf_counter()
        call(self.images, classes)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def measure_growth(self, method: str, package: str, k: int) -> float:
        """Return the growth of a call's memory peak over that of a bare pass in MiB; only once per process."""
        call, classes, status = self.make_call(method, package), self.classes(k), Path("/proc/self/status")
        assert call is not None

        def peak() -> float:
            if self.device.type == "cuda":
                return torch.cuda.max_memory_allocated() / 2**20
            return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10

        call(self.images[:1, :, :64, :64], classes[:1])  # the first call also loads libraries
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            status.with_name("clear_refs").write_text("5")  # resets the peak
        self.run_bare(self.images, classes)
        before = peak()
        call(self.images, classes)
        return peak() - before


def measure_in_child(*arguments: str) -> float:
    """Run ``measure_growth`` in a child process with the same options."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak", *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()[-1])


def compare(bench: Bench, method: str, k: int, options: argparse.Namespace) -> bool:
    """Time one method with all packages, print a line, and return whether it is within its limits."""
    classes = bench.classes(k)
    calls = {name: call for name in options.packages if (call := bench.make_call(method, name))}
    times: dict[str, list[float]] = {name: [] for name in ("bare", *calls)}
    for call in calls.values():
        call(bench.images[:1, :, :64, :64], classes[:1])  # the first call also loads libraries
    for _ in range(options.rounds):
        for name, call in {"bare": bench.run_bare, **calls}.items():
            times[name].append(bench.measure_seconds(call, classes))

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    ms = {name: 1000 * statistics.median(seconds) / len(bench.images) for name, seconds in times.items()}
    line = f"{method:20} {ms['bare']:8.1f}"
    for name in options.packages:
        if name in calls:
            mib = f"{measure_in_child(method, name, str(k)):6.0f} MiB" if options.memory else ""
            line += f" |{ms[name]:9.1f} {ratio(name, 'bare'):7.2f} x {mib:10}"
        else:
            line += f" |{'':30}"
    limit, within = LIMITS.get(method, {}).get(k), True
    if "wsol" in calls:
        within = limit is None or ratio("wsol", "bare") <= limit
        within &= all(ratio("wsol", name) <= NOISE for name in calls)
    print(f"{line} | {limit or '':4}{'' if within else ' MISSED'}".rstrip(), flush=True)
    return within


def main() -> int:
    """Print a table for each number of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slow", action="store_true", help="the methods that run the network many times")
    parser.add_argument("--model", help="resnet50; resnet18 with --slow")
    parser.add_argument("--layer", help="target layer, instead of the one found by inspection")
    parser.add_argument("--batch-size", type=int, help="16; 1 with --slow")
    parser.add_argument("--classes", type=int, nargs="+", metavar="K", help="1 and 6; 1 with --slow")
    parser.add_argument("--rounds", type=int, help="5; 3 with --slow")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD")
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=PACKAGES, metavar="PACKAGE")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="do not measure memory")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    defaults: dict[str, Any] = {"model": "resnet50", "batch_size": 16, "classes": [1, 6], "rounds": 5, "methods": CHEAP}
    slow: dict[str, Any] = {"model": "resnet18", "batch_size": 1, "classes": [1], "rounds": 3, "methods": SLOW}
    options = parser.parse_args()
    for name, value in (slow if options.slow else defaults).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    warnings.simplefilter("ignore")
    bench = Bench(options)
    if options.peak:
        method, package, k = options.peak
        print(bench.measure_growth(method, package, int(k)))
        return 0
    print(
        f"{options.model} ({bench.classifier.layer}), batch of {options.batch_size}, {bench.device}, "
        f"{torch.get_num_threads()} threads{', channels last' if options.channels_last else ''}; "
        "ms per image, ratio to the bare pass, peak memory beyond it"
    )
    within = True
    for k in options.classes:
        print(f"\n{f'{k} class' if k == 1 else f'{k} classes':20} {'bare':>8}", end="")
        print(*(f" |{name:^30}" for name in options.packages), " | limit", sep="")
        for method in options.methods:
            within &= compare(bench, method, k, options)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
