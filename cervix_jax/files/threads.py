"""Maps a function over many files in threads, in order and with bounded memory."""

import collections
import itertools
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_order(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    workers: int = 0,
    ahead: int = 0,
) -> Generator[_Result, None, None]:
    """Map in threads (image codecs release the GIL), a few items ahead to bound the memory.

    Args:
      function: called by several threads at once.
      items: consumed as needed.
      workers: number of threads; 0 uses the number of cores, at most 8.
      ahead: maximum number of items started before their result is requested; 0 is four per thread.
    """
    workers = workers or min(8, os.cpu_count() or 1)
    executor = ThreadPoolExecutor(workers)
    try:
        remaining = iter(items)
        pending = collections.deque(
            executor.submit(function, item)
            for item in itertools.islice(remaining, ahead or 4 * workers)
        )
        while pending:
            yield pending.popleft().result()
            pending.extend(
                executor.submit(function, item) for item in itertools.islice(remaining, 1)
            )
    finally:
        executor.shutdown(cancel_futures=True)
