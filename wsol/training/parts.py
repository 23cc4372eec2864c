"""How processes share the images of a step."""

from collections.abc import Iterator, Sequence

from wsol.processes import Processes

_LEAST = 2  # images a process; batch normalisation needs a spread to divide by


def parts(places: Sequence[int], batch_size: int, group: Processes) -> Iterator[tuple[Sequence[int], int]]:
    """Cuts places into batches, and batches into what each process gets.

    Every place of a batch is in one process's part. A batch with fewer than two images a process, as an epoch's last
    may be, all compute in full: the mean of their gradients is its gradient, and none has to leave out the step.

    Args:
        places: In the order in which they are learnt.
        batch_size: Images in a step of all processes together.
        group: The processes.

    Yields:
        The places of this process's part, and how many the whole batch has.
    """
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        yield batch if len(batch) < _LEAST * group.size else group.share(batch), len(batch)
