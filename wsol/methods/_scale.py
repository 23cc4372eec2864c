"""Maps scaled to one range."""

from torch import Tensor


def scale_to_one(maps: Tensor) -> Tensor:
    """Return maps ``(..., h, w)`` scaled to [0, 1] each by minimum and maximum; zeros for one without contrast."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    span = high - low
    return (maps - low) / span.masked_fill(span == 0, 1)
