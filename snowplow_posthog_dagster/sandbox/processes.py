"""Server processes that outlive the one that started them, found again and stopped by their pid.

A pid alone proves nothing after a reboot, so a process counts as ours only when its command line says so. Each
server gets a session of its own: Ctrl-C in the terminal of `make demo` leaves the sandbox running.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from snowplow_posthog_dagster.errors import SettingsError

STOP_SECONDS = 5.0
START_SECONDS = 20.0
POLL_SECONDS = 0.02
PORT_SECONDS = 0.5
LOOPBACK = "127.0.0.1"

# Children that this process started: polled, so that none stays a zombie, and kept from complaining when collected.
_children: dict[int, subprocess.Popen[bytes]] = {}


def command_line(pid: int) -> str:
    """The command line of a live process, "" when there is none (a zombie has none either)."""
    if (child := _children.get(pid)) and child.poll() is not None:
        return ""
    entry = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        with contextlib.suppress(OSError):
            return entry.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return ""
    listing = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return listing.stdout.strip()


def is_ours(pid: int, marks: Sequence[str]) -> bool:
    """Whether `pid` is alive and its command line holds every mark."""
    command = command_line(pid)
    return bool(command) and all(mark in command for mark in marks)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """`preferred` when it is free or becomes so soon, otherwise any free port.

    A process that was killed keeps its sockets a moment longer than its command line.
    """
    deadline = time.monotonic() + PORT_SECONDS
    while preferred is not None:
        if is_free(preferred):
            return preferred
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def start(command: Sequence[str], log: Path, answers: Callable[[], bool]) -> int:
    """Start a server in the background and wait until it answers; its pid.

    Raises:
        SettingsError: it ended or stayed silent; the message shows the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    _children[child.pid] = child
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        if answers():
            return child.pid
        time.sleep(POLL_SECONDS)
    stop(child.pid, ())
    tail = log.read_bytes()[-2000:].decode(errors="replace").strip()
    raise SettingsError(f"{Path(command[0]).name} did not start; its log {log} ends with: {tail}")


def stop(pid: int, marks: Sequence[str]) -> bool:
    """End a process of ours, softly first; whether there was one to end."""
    if not is_ours(pid, marks):
        return False
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not is_ours(pid, marks):
                _children.pop(pid, None)
                return True
            time.sleep(POLL_SECONDS)
    raise SettingsError(f"process {pid} does not end")
