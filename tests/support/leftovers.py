"""What a task that was cancelled, or a process that died within a test, has not closed."""

import gc
import warnings


def collect() -> None:
    """A connection attempt that is cancelled half-way leaves its socket to the collector (asyncio of Python 3.11):
    collected here, it does not fail whichever test the collector happens to run in. It stops everything for a while,
    so not after each of many small ends.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
