"""Ctrl-C that is not lost: Python drops a KeyboardInterrupt that arrives in a finalizer, and the run would go on.

The same is true of SIGTERM and SIGHUP where a program ends by them as by Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from geoseg.forking import STOPPING


@contextmanager
def noticed_interrupts() -> Iterator[Callable[[], None]]:
    """Interrupt as the program does, and remember it: the function that is given raises what was dropped.

    Outside of the main thread, and of signals that the program does not handle in Python, nothing is changed.
    """
    caught: list[KeyboardInterrupt] = []

    def noticing(before: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                before(number, frame)
            except KeyboardInterrupt as error:
                caught.append(error)
                raise

        return handle

    def raise_dropped() -> None:
        if caught:
            raise caught[0]

    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in STOPPING if is_main}
    noticed = {number: noticing(before) for number, before in handlers.items() if callable(before)}
    for number, handle in noticed.items():
        signal.signal(number, handle)
    try:
        yield raise_dropped
    finally:
        for number, handle in noticed.items():
            if signal.getsignal(number) is handle:  # a handler may have put another in its own place
                signal.signal(number, handlers[number])
