"""Processes that leave when their parent dies.

Killing a Dagster run worker with SIGKILL leaves its step process alive, and killing a step leaves its pool
alive: they would go on sending while a new run has begun. Each process therefore watches its parent.
"""

import os
import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 0.5


def exit_with_parent(parent: int | None = None, *, before_exit: Callable[[], None] = lambda: None) -> None:
    """Start a thread that ends this process within a second of its parent's death.

    `parent` is the parent's pid where it is known: it may have died before this is called, and then another
    process is the parent already. `before_exit` is called first; it must be quick and must not raise. The process
    ends with `os._exit(75)`, without clean-up: whatever was not logged is done again by the next run.
    """
    expected = os.getppid() if parent is None else parent

    def watch() -> None:
        while os.getppid() == expected:
            time.sleep(LOOK_SECONDS)
        before_exit()
        os._exit(75)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
