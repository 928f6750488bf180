"""Connections to PostHog on which an answer begins, whole, within the time-out, or not at all.

A socket's time-out bounds one read. A server that sends its headers a byte at a time keeps within it for hours, and the
sender with it. Here the time-out bounds the head of an answer as a whole: when it has passed, the socket is shut down,
and the POST fails as on a time-out. The rest of the answer is watched by capture.py, which reads it.

    HTTPConnection.getresponse --watch (a timer)--> answer, or TimeoutError
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse


def within(seconds: float, sock: socket.socket, read: Callable[[], HTTPResponse]) -> HTTPResponse:
    """What `read` reads from the socket. Raises TimeoutError when it is not there, whole, after so many seconds."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):
            # The plain socket's own method: TLS would first want to say goodbye to the one that does not listen.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        got = read()
    except Exception:
        _refuse(late, seconds)
        raise
    finally:
        timer.cancel()
    if late.is_set():
        # The end of the stream ends a head like an empty line does: what was read may be half of it.
        got.close()
        _refuse(late, seconds)
    return got


def _refuse(late: threading.Event, seconds: float) -> None:
    if late.is_set():
        raise TimeoutError(f"the head of the answer was not complete after {seconds:g} s") from None


def bounded(manager: urllib3.PoolManager, seconds: float) -> None:
    """Let the manager's connections wait for the head of an answer for so many seconds at most."""

    class Plain(HTTPConnection):
        def getresponse(self) -> Any:
            return within(seconds, self.sock, super().getresponse)

    class Secure(HTTPSConnection):
        def getresponse(self) -> Any:
            return within(seconds, self.sock, super().getresponse)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
