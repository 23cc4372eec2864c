"""The bundled network on every GPU: the class scores and the map of an image, and every metric of a run."""

import torch

from wsol.datasets import load_dataset
from wsol.evaluation.evaluate import evaluate
from wsol.selfchecks.checks.bundled import check_numbers, load_network
from wsol.selfchecks.expect import assert_equal, index_metrics
from wsol.selfchecks.outcome import Checks, CheckSkipped

# Another implementation of convolution on a CPU changes no metric by more than 0.00002, TF32 some by 0.002. With eight
# images none is closer than 0.00014 to where its last printed digit changes.
_IMAGES = 8


def list_gpus() -> list[str]:
    """Return the names of all GPUs.

    Raises:
        CheckSkipped: There is none.
    """
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if not names:
        raise CheckSkipped("no GPU")
    return names


def print_metrics(device: str) -> dict[str, str]:
    """Evaluate the bundled network in float32; return all metrics, with the digits that are printed."""
    images = load_dataset("synthetic", dataset_args={"images": str(_IMAGES)})
    metrics = index_metrics(evaluate(load_network(device), dataset=images).metrics)
    return {" ".join(name).strip(): f"{value:.3f}" for name, (value, _) in metrics.items()}


def _check_numbers() -> None:
    for name in list_gpus():
        check_numbers(name)


def _check_run() -> str:
    names = list_gpus()
    expected = print_metrics("cpu")
    for name in names:
        found = print_metrics(name)
        assert_equal(sorted(found), sorted(expected), f"the metrics on {name}")
        for metric, value in expected.items():
            assert_equal(found[metric], value, f"{metric} on {name}")
    return f"{len(expected)} metrics are equal on {', '.join(names)}"


RUNS_NETWORKS = True
CHECKS: Checks = {
    "gpu: class scores and map of an image": _check_numbers,
    "gpu: every metric of a run is that of the processor": _check_run,
}
