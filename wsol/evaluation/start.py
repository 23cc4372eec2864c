"""A description of a run before it starts, in one or two sentences."""

from collections.abc import Iterator
from pathlib import PurePath

from wsol.evaluation.plan import Plan
from wsol.methods import Method, constant_gradient_map
from wsol.models import Classifier
from wsol.models.layer_probe import LayerProbe
from wsol.models.layered import list_layers


def describe_start(plan: Plan) -> Iterator[str]:
    """Yield images, method, target layer and map size; then whether the method is CAM at this layer.

    Args:
        plan: The run; its network is run once, on an image of random numbers.
    """
    inference, images = plan.inference, plan.splits[-1].images
    model, method, side = inference.model, inference.method, inference.protocol.view.crop
    probes = [LayerProbe(each, side) for each in list_layers(model.network)]
    name = PurePath(model.name).name if ".py:" in model.name else model.name
    sizes = ", ".join(f"{height} x {width}" for height, width in (probe.size for probe in probes))
    count = f"{len(images)} image{'s' * (len(images) != 1)}"
    yield (
        f"{name} on {images.name} {images.split}, {count}: {method.name} with the "
        f"layer{'s' if len(probes) > 1 else ''} {model.network.layer}, whose feature maps are {sizes} for an input of "
        f"{side} x {side}"
    )
    if len(probes) == 1:
        yield from _compare_with_cam(method, model.network, probes[0])


def _compare_with_cam(method: Method, network: Classifier, probe: LayerProbe) -> Iterator[str]:
    kind = constant_gradient_map(method)
    if kind is None or not probe.has_constant_gradient():
        return
    clipped = " and negative values, which are set to 0" if kind == "positive cam" else ""
    where = f"the gradient is the same at every place of {network.layer}"
    if network.unsupported_reason is None:
        sentence = f"{method.name} is CAM here, except for a factor{clipped}: {where}, which is averaged over places"
    else:
        sentence = f"gradcam, xgradcam and hirescam have the same map here, except for negative values: {where}"
    earlier = probe.find_earlier_layer()
    hint = f"; --layer {earlier} is the last layer before it where gradient methods have another map"
    yield sentence + (hint if earlier else "")
