"""Functions over many files: the same results in order, whether files are waited for or not."""

import threading
import time

import pytest

from wsol.io.parallel import map_files, map_small_files


def test_results_are_in_order_and_threads_begin_when_files_are_waited_for() -> None:
    threads = set()

    def read(i: int) -> int:
        threads.add(threading.current_thread())
        if i in (300, 700):  # in the second chunk of 256, and in a thread
            time.sleep(0.2)
        return i * i

    assert list(map_small_files(read, range(1500))) == [i * i for i in range(1500)]
    assert threading.current_thread() in threads
    assert len(threads) > 1


def test_cached_files_are_read_without_threads() -> None:
    readers = list(map_small_files(lambda _: threading.current_thread(), range(1500)))
    assert readers[0] is threading.current_thread()
    assert list(map_small_files(str, [])) == list(map_files(str, [])) == []


@pytest.mark.parametrize("first", [3, 900])
def test_the_first_error_in_order_is_raised(first: int) -> None:
    def read(i: int) -> None:
        if i == 1:
            time.sleep(0.2)  # so that the rest is read in threads
        if i in (first, first + 1, 1400):
            raise ValueError(i)

    with pytest.raises(ValueError, match=f"^{first}$"):
        list(map_small_files(read, range(1500)))
