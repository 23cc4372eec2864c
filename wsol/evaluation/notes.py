"""Notes of a run: what a reader of its numbers should know."""

import numpy as np

from wsol.io.display import list_first
from wsol.protocols import Protocol
from wsol.runs.results import LocalizationResults


def list_notes(results: LocalizationResults, protocol: Protocol) -> list[str]:
    """Return what deserves a second look, one sentence each.

    Args:
        results: The results on the evaluated images.
        protocol: The protocol.
    """
    notes = []
    if results.constant:
        notes.append(
            f"{len(results.constant)} of {len(results.truths)} score maps are constant and {protocol.empty_box}: "
            f"{list_first(results.constant)}"
        )
    if (ranks := results.stats.class_only_ranks) is not None:
        notes.append(f"{len(ranks)} images that are excluded from localization count in the classification error only")
    if (objects := results.stats.objects) is not None:
        notes.append(
            f"{len(objects) - objects.sum()} of {len(objects)} images show no object: classification and metrics of "
            "pixels count them, metrics of boxes do not"
        )
    without = sum(sample.mask is None for sample in results.truths.samples)
    if 0 < without < len(results.truths):
        notes.append(
            f"{without} of {len(results.truths)} images have no mask: PxAP and the other pixel metrics are left out"
        )
    if (attribution := results.stats.attribution) is not None:
        if 0 < without < len(results.truths):
            notes.append("the metrics of attributions compare images without a mask with their boxes")
        if undefined := int(np.isnan(attribution).any(1).sum()):
            notes.append(
                f"{undefined} of {len(results.truths)} images are left out of metrics of attributions that are "
                "undefined for them: no pixel is of the object, or for the AUC all of them"
            )
    if results.stats.ranks is not None and not results.stats.top5:
        notes.append("some images have fewer than five predicted classes: top-5 errors are left out")
    elif results.stats.ranks is not None and results.stats.guesses is None:
        notes.append(
            f"{protocol.name} takes the box of the first predicted class for all guesses, and some images have none of "
            "that class: top-5 localization error is left out"
        )
    if not results.stats.complete:
        notes.append("some images have no box of their own class: GT-known accuracy and related metrics are left out")
    return notes
