"""The network of a training: what it must accept, and its split into frozen features and a linear layer."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.models import GapClassifier, InitReport, find_gap
from wsol.runtime.precision import arithmetic
from wsol.training.recipe import HeadStart


@dataclass(frozen=True)
class FrozenFeatures:
    """A network of which only the linear layer is trained.

    Attributes:
        classifier: The network, split before its linear layer.
        linear: The linear layer; it shares its tensors with the network.
        has_weights: Whether the weights that the training starts from include those of the linear layer.
    """

    classifier: GapClassifier
    linear: nn.Linear
    has_weights: bool


def freeze_features(network: nn.Module, model: str, start: InitReport | None, side: int) -> FrozenFeatures:
    """Freeze all parameters but those of the linear layer.

    Args:
        network: The network.
        model: Its name in messages.
        start: The weights that it starts from; None for those that the network comes with.
        side: Side of the images that it is trained with.

    Raises:
        InputError: The network does not end in a linear layer on pooled features, or the features are random.
    """
    network.eval()
    try:  # the maps of a small image may have one place alone
        classifier = find_gap(network, model)
    except InputError:
        classifier = find_gap(network, model, side)
    if classifier.linear is None:
        raise InputError(
            f"{model} has no linear layer after its pooling that could be trained alone; give a network that has one, "
            "such as NAME-gap for a network NAME of torchvision, or leave out --freeze"
        )
    trained = {parameter.data_ptr() for parameter in classifier.linear.parameters()}
    state = network.state_dict()
    missing = start.missing if start else ()
    random = [key for key in missing if state[key].data_ptr() not in trained]
    if random:
        raise InputError(
            f"{model}: the weights lack {len(random)} tensors of the features, the first is {random[0]}, which would "
            "stay random; train all layers, or give weights that include them"
        )
    classifier.requires_grad_(False)
    linear = classifier.linear.requires_grad_(True)
    return FrozenFeatures(classifier, linear, linear.weight.data_ptr() not in _missing_tensors(network, missing))


def find_head(network: nn.Module, classes: int) -> nn.Linear | None:
    """Return the last linear layer with one output per class; None if there is none."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    return layers[-1] if layers else None


def start_missing(head: nn.Linear, network: nn.Module, start: InitReport, values: HeadStart) -> None:
    """Set the tensors of a linear layer that the weights lack.

    Args:
        head: The linear layer.
        network: The network that it belongs to.
        start: The weights.
        values: ``zero``, so that the training starts from a guess: random numbers times the features of other layers,
            which may be in the hundreds, would be confident nonsense. ``normal`` for weights with a standard deviation
            of 0.01 and a bias of zero, as in torchvision's VGG and in the code of Choe et al., CVPR 2020.
    """
    missing = _missing_tensors(network, start.missing)
    for parameter in head.parameters():
        if parameter.data_ptr() not in missing:
            continue
        if values == "normal" and parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.01)
        else:
            nn.init.zeros_(parameter)


def _missing_tensors(network: nn.Module, missing: Sequence[str]) -> set[int]:
    """Return the addresses of the network's tensors that the weights lack."""
    state = network.state_dict()
    return {state[key].data_ptr() for key in missing}


def check_image_size(network: nn.Module, model: str, side: int, classes: int) -> None:
    """Run a network once in evaluation mode, so that an unsuitable image size is reported before the training begins.

    Args:
        network: The network.
        model: Its name in messages.
        side: Side of the images.
        classes: Number of classes.

    Raises:
        InputError: The network does not accept such images, or does not output one score per class.
    """
    try:
        output = _run(network.eval(), 1, side)
    except Exception as error:  # a user's own network may raise anything
        raise InputError(f"{model} cannot take images of {side} x {side} ({first_line(error)})") from error
    if (fault := _output_fault(output, (1, classes))) is not None:
        fix = "; its function may take the number of classes: def FUNCTION(classes=1000)" if ".py:" in model else ""
        raise InputError(f"the output of {model} for one image {fault}{fix}")


def check_step(network: nn.Module, model: str, side: int, classes: int, images: int) -> None:
    """Run a network once in training mode, where it may behave differently, without changing it.

    Args:
        network: The network.
        model: Its name in messages.
        side: Side of the images.
        classes: Number of classes.
        images: Number of images of the smallest step.

    Raises:
        InputError: The network does not accept so few images, or does not output one score per class.
    """
    with _keep_buffers(network):
        try:
            output = _run(network.train(), images, side)
        except InputError:  # such as that of a training method
            raise
        except Exception as error:  # a user's own network may raise anything
            reason = first_line(error)
            if "Expected more than 1" in reason:
                raise InputError(
                    f"{model} cannot be trained on {images} image{'s' * (images > 1)} of {side} x {side} per step: "
                    f"normalization needs two values per channel ({reason}); give a larger --batch-size or --image-size"
                ) from error
            raise InputError(f"{model} cannot be trained on images of {side} x {side} ({reason})") from error
    if (fault := _output_fault(output, (images, classes))) is not None:
        raise InputError(f"the output of {model} for {images} images in training mode {fault}")


def _run(network: nn.Module, images: int, side: int) -> Any:
    # fx prints the traced code on an error.
    with arithmetic("float32"), torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
        return network(torch.zeros(images, 3, side, side))


def _output_fault(output: Any, shape: tuple[int, int]) -> str | None:
    if not isinstance(output, Tensor):
        return f"is a {type(output).__name__}, not a tensor of class scores"
    if output.shape == shape:
        return None
    found = " x ".join(map(str, output.shape))
    return f"has the shape {found}, not {' x '.join(map(str, shape))} (class scores)"


@contextlib.contextmanager
def _keep_buffers(network: nn.Module) -> Iterator[None]:
    """Restore all buffers on exit, such as the statistics of batch normalization, which a step in training changes."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
