"""Signs of life: something small done again and again beside the work, so that others see that it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeatedly(seconds: float, sign: Callable[[], object]) -> Iterator[None]:
    """Within the block `sign` is called in a thread of its own, so many seconds after it began and after each call.

    Args:
        seconds: between two calls.
        sign: sees to its own failures.
    """
    over = threading.Event()

    def signs() -> None:
        while not over.wait(seconds):
            sign()

    thread = threading.Thread(target=signs, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
