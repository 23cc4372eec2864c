"""Holds the cost of every method against the bare forward pass, and against the packages that have it too.

    python benchmarks/cams.py [--model resnet50] [--batch-size 16] [--rounds 5] [--channels-last] [--methods ...]
    python benchmarks/cams.py --slow

Each number is the whole cost of the maps of a batch, forward pass and all. Same network with random weights, same
images, classes and target layer on all sides, which are timed in turn in every round; ratios are to the bare pass of
the same method and round, and medians over rounds. Bare is ``model(images)`` in inference mode. The packages are called
as their users do: parameters require gradients, as a network has them from torchvision, where wsol's are loaded without
(the two sides have copies of their own); what takes one class at a time is called once for each, and torchcam keeps
its graph in between. grad-cam also scales its maps and resizes them to the image, which cannot be switched off.

MiB is by how much the peak of memory grows over that of a bare pass, each in a process of its own: resident memory,
on a GPU what is allocated. --slow takes the methods that run the network many times, by themselves, with few samples;
captum's occlusion hides 16 places at once. There no limit holds but that of being faster than each package.
"""

import argparse
import copy
import importlib
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from wsol.cams import find_method, forward
from wsol.models import find_classifier

Call = Callable[[Tensor, Tensor], object]  # of images and classes (n, k)


@dataclass(frozen=True)
class Entry:
    """What a method is called in each package, with what settings, and what it may cost.

    Attributes:
        packages: Name of the class, by package.
        settings: Ours.
        arguments: Theirs.
        limits: Of the ratio to the bare pass, by number of classes.
    """

    packages: dict[str, str]
    settings: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    limits: dict[int, float] = field(default_factory=dict)


GRADIENT_LIMITS = {1: 1.15, 6: 1.4}
WINDOW, STRIDE = 64, 32
CHEAP = {
    "cam": Entry({"torchcam": "CAM"}, limits={1: 1.05}),
    "gradcam": Entry({"grad-cam": "GradCAM", "torchcam": "GradCAM", "captum": "LayerGradCam"}, limits=GRADIENT_LIMITS),
    "gradcam++": Entry({"grad-cam": "GradCAMPlusPlus", "torchcam": "GradCAMpp"}, limits=GRADIENT_LIMITS),
    "xgradcam": Entry({"grad-cam": "XGradCAM", "torchcam": "XGradCAM"}, limits=GRADIENT_LIMITS),
    "layercam": Entry({"grad-cam": "LayerCAM", "torchcam": "LayerCAM"}, limits=GRADIENT_LIMITS),
    "hirescam": Entry({"grad-cam": "HiResCAM"}, limits=GRADIENT_LIMITS),
    "gradcam-elementwise": Entry({"grad-cam": "GradCAMElementWise"}),
    "eigencam": Entry({"grad-cam": "EigenCAM"}),
}
SLOW = {
    "scorecam": Entry({"grad-cam": "ScoreCAM", "torchcam": "ScoreCAM"}),
    "ablationcam": Entry({"grad-cam": "AblationCAM"}),
    "smoothgradcam++": Entry({"torchcam": "SmoothGradCAMpp"}, ":samples=4", {"num_samples": 4}),
    "ss-cam": Entry({"torchcam": "SSCAM"}, ":samples=2", {"num_samples": 2}),
    "is-cam": Entry({"torchcam": "ISCAM"}, ":samples=2", {"num_samples": 2}),
    "fullgrad": Entry({"grad-cam": "FullGrad"}),
    "backprop": Entry({"captum": "Saliency"}),
    "guided-backprop": Entry({"captum": "GuidedBackprop"}),
    "integrated-gradients": Entry({"captum": "IntegratedGradients"}, ":steps=5", {"n_steps": 5}),
    "occlusion": Entry(
        {"captum": "Occlusion"},
        f":window={WINDOW},stride={STRIDE}",
        {
            "sliding_window_shapes": (3, WINDOW, WINDOW),
            "strides": (3, STRIDE, STRIDE),
            "perturbations_per_eval": 16,
        },
    ),
}
METHODS = CHEAP | SLOW
PACKAGES = ["wsol", "grad-cam", "torchcam", "captum"]


def with_grad_cam(name: str, network: nn.Module, layer: nn.Module) -> Call:
    """Theirs: a call gives the maps of one class of each image."""
    package = importlib.import_module("pytorch_grad_cam")
    kind, target = getattr(package, name), package.utils.model_targets.ClassifierOutputTarget
    layers = [] if name == "FullGrad" else [layer]  # it looks for its layers itself

    def call(images: Tensor, classes: Tensor) -> None:
        with kind(network, layers) as cam:
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
        """Returns the outermost module that gives what the target layer gives, once in a pass; None without one."""
        found: list[nn.Module] = []
        with torch.inference_mode():
            features, _ = self.classifier.lower(self.images[:1])

            def compare(module: nn.Module, _: object, output: object) -> None:
                if isinstance(output, Tensor) and output.shape == features.shape and torch.allclose(output, features):
                    found.append(module)

            hooks = [module.register_forward_hook(compare) for module in self.theirs.modules()]
            self.theirs(self.images[:1])
        for hook in hooks:
            hook.remove()
        return found[-1] if found else None

    def bare(self, images: Tensor, *_: Tensor) -> None:
        """The forward pass alone."""
        with torch.inference_mode():
            self.ours(images)

    def side(self, method: str, package: str) -> Call | None:
        """Returns what makes maps with a package; None if it has no such method, or the network no such module."""
        entry = METHODS[method]
        if package == "wsol":
            own = find_method(method + entry.settings)
            return lambda images, classes: own.maps(forward(self.classifier, images), classes)
        if package not in entry.packages or self.layer is None:
            return None
        name = entry.packages[package]
        if package == "grad-cam":
            return with_grad_cam(name, self.theirs, self.layer)
        if name == "CAM" and getattr(self.classifier, "linear", None) is None:
            return None
        made = with_torchcam if package == "torchcam" else with_captum
        return made(name, self.theirs, self.layer, entry.arguments)

    def classes(self, k: int) -> Tensor:
        """Returns k classes for each image."""
        return (torch.arange(len(self.images))[:, None] * 7 + torch.arange(k) * 31).remainder(1000).to(self.device)

    def seconds(self, call: Call, k: int) -> float:
        """Returns what a call takes."""
        classes = self.classes(k)
        start = time.perf_counter()
        call(self.images, classes)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def peak(self) -> float:
        """Returns the most memory that was ever in use, in MiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)

    def growth(self, method: str, package: str, k: int) -> float:
        """Returns by how much a call's peak is above that of a bare pass; only once in a process."""
        call = self.side(method, package)
        assert call is not None
        call(self.images[:1, :, :64, :64], self.classes(k)[:1])  # what is loaded on the first call is not its memory
        self.bare(self.images)
        before = self.peak()
        call(self.images, self.classes(k))
        return self.peak() - before


def in_child(*words: str) -> float:
    """Returns the peak that this script measures in a process of its own, with the same options."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak", *words]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def compare(bench: Bench, method: str, k: int, options: argparse.Namespace) -> bool:
    """Times one method on all sides, prints a line and says whether it keeps its limits."""
    sides = {name: call for name in options.packages if (call := bench.side(method, name))}
    for call in (bench.bare, *sides.values()):
        call(bench.images[:1], bench.classes(k)[:1])
    bare: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        bare.append(bench.seconds(bench.bare, k))
        for name, call in sides.items():
            taken[name].append(bench.seconds(call, k))
    ratios = {name: statistics.median(t / b for t, b in zip(times, bare, strict=True)) for name, times in taken.items()}
    cells = [f"{method:20} {1000 * statistics.median(bare) / len(bench.images):7.1f}"]
    for name in options.packages:
        if name not in sides:
            cells.append(" " * 28)
            continue
        ms = 1000 * statistics.median(taken[name]) / len(bench.images)
        mib = f"{in_child(method, name, str(k)):6.0f}" if options.memory else "     -"
        cells.append(f"{ms:9.1f} {ratios[name]:7.2f} x {mib} M")
    limit = METHODS[method].limits.get(k)
    own = ratios.get("wsol", 0.0)
    held = own <= (limit or float("inf")) and all(own <= ratio for ratio in ratios.values())
    print(" |".join(cells), f"| {limit or '':4} {'' if held else 'MISSED'}", flush=True)
    return held


def main() -> int:
    """Prints a table for each number of classes."""
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
    os.environ["TQDM_DISABLE"] = "1"
    bench = Bench(options)
    if options.peak:
        method, package, k = options.peak
        print(bench.growth(method, package, int(k)))
        return 0
    print(
        f"{options.model} ({bench.classifier.layer}), batch of {options.batch_size}, {bench.device}, "
        f"{torch.get_num_threads()} threads{', channels last' if options.channels_last else ''}, "
        f"{options.rounds} rounds; ms an image, ratio to the bare pass, MiB beyond it"
    )
    held = True
    for k in options.classes:
        print(f"\n{k} class{'es' if k > 1 else ''}")
        print(" |".join([f"{'method':20} {'bare':>7}", *(f"{name:>28}" for name in options.packages)]), "| limit")
        for method in options.methods:
            held &= compare(bench, method, k, options)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
