"""Several target layers of a network that cannot be traced, read and replaced by hooks in one pass."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.hooked import HookedClassifier, HookedPass, find_hooked_classifier
from wsol.models.layered import LayeredClassifier, LayerPass, check_distinct
from wsol.models.layout import Layout
from wsol.models.measure import make_noise


class HookedLayers(LayeredClassifier):
    """A network that runs as a whole, with the outputs of several layers read by hooks.

    Args:
        layers: The network read at each layer, in the order in which the layers end.
    """

    def __init__(self, layers: Sequence[HookedClassifier]) -> None:
        super().__init__(layers, layers[-1].trunk)
        self._reader = layers[-1]

    def forward_layers(self, images: Tensor) -> list[LayerPass]:
        """Return feature maps and extras of every layer, from one pass."""
        self.count_pass(len(images))
        seen: dict[str, Tensor] = {}

        def read(layer: str) -> Callable[[Tensor], Tensor]:
            def keep(output: Tensor) -> Tensor:
                seen[layer] = output
                return output.clone()  # what follows may overwrite it

            return keep

        logits = self._reader.run(images, {each.layer: read(each.layer) for each in self.layers})
        passes = []
        for each in self.layers:
            layout = each.find_layout(images)
            maps, others = layout.to_maps(seen[each.layer])
            passes.append((maps, (HookedPass(layout, images, maps, logits), others)))
        return passes

    def forward_graph(self, passes: Sequence[LayerPass]) -> tuple[list[Tensor], Tensor]:
        """Run the network again, in one graph of gradients from the first layer on."""
        (first, (done, others)), *later = passes
        leaf = first.detach().requires_grad_()
        maps = [leaf]

        def follow(layout: Layout) -> Callable[[Tensor], Tensor]:
            def keep(output: Tensor) -> Tensor:
                reached, rest = layout.to_maps(output)
                maps.append(reached)
                return layout.to_output(reached, rest).clone()

            return keep

        changes = {self.layers[0].layer: lambda _: done.layout.to_output(leaf, others).clone()}
        changes |= {
            each.layer: follow(extras[0].layout) for each, (_, extras) in zip(self.layers[1:], later, strict=True)
        }
        return maps, self._reader.run(done.images, changes)


def find_hooked_layers(
    network: nn.Module, name: str, layers: Sequence[str], side: int, output: str | None, error: InputError
) -> HookedLayers:
    """Find several target layers of a network that cannot be traced, see ``find_hooked_classifier``."""
    found = [find_hooked_classifier(network, name, each, side, output, error) for each in layers]
    outputs: dict[str, Tensor] = {}

    def read(layer: str) -> Callable[[Tensor], Tensor]:
        return lambda value: outputs.setdefault(layer, value)

    with torch.inference_mode(False), torch.no_grad():
        found[0].run(make_noise(network, (side, side), images=1), {each: read(each) for each in layers})
    check_distinct([*outputs], outputs.values(), name)
    places = [*outputs]
    ordered = sorted(found, key=lambda each: places.index(each.layer))
    classifier = HookedLayers(ordered)
    for each in (classifier, classifier._modules_of_layers):
        each.training = False  # as the network is; its own eval() may do more
    last = ordered[-1]
    one, all_of_them = f"the module {last.layer} is read by a hook", f"the modules {classifier.layer} are read by hooks"
    classifier.notes = tuple(note.replace(one, all_of_them) for note in last.notes)
    classifier.classes = last.classes
    return classifier
