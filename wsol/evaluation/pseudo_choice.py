"""A tau that was chosen with pseudo boxes beside the one that the data set's own boxes would have chosen."""

from concurrent.futures import Executor
from pathlib import Path

from wsol.datasets import Dataset, unused_boxes
from wsol.evaluation.sources.run import score_run
from wsol.metrics.tau import round_tau
from wsol.protocols import Protocol
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock


def score_with_own_boxes(folder: Path, own: Dataset, protocol: Protocol, pool: Executor) -> LocalizationResults:
    """Score a run on a validation split with pseudo boxes against the data set's own boxes.

    Args:
        folder: The finished run on the split with pseudo boxes, which has the raw score maps.
        own: The images of the split with the data set's boxes.
        protocol: The protocol.
        pool: Threads for the images.
    """
    places = {sample.image_id: i for i, sample in enumerate(own)}

    def annotate(images: Dataset) -> Dataset:
        return own.subset([places[sample.image_id] for sample in images])

    return score_run(folder, protocol, pool, Clock(), annotate=annotate)[1]


def describe_choice(
    protocol: Protocol, results: LocalizationResults, chosen_on: Dataset, tau_index: int, own: int
) -> list[str]:
    """Return notes on the tau that pseudo boxes chose and the one that the data set's own boxes would choose.

    Args:
        protocol: The protocol.
        results: The results on the evaluated images, which neither choice has used.
        chosen_on: The images of the validation split with the pseudo boxes.
        tau_index: Index of the tau that was chosen with pseudo boxes.
        own: Index of the tau that the data set's own boxes choose on the same images.
    """
    accuracy = 100 * results.stats.with_objects.hits.mean(0)
    chosen, other = (round_tau(protocol.taus, index) for index in (tau_index, own))
    return [
        f"tau {chosen:g} is chosen with pseudo boxes and gives a GT-known accuracy of {accuracy[tau_index]:.1f} %; the "
        f"data set's own boxes of val choose {other:g}, which gives {accuracy[own]:.1f} %",
        *unused_boxes(chosen_on),
    ]
