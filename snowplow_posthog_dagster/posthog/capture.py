"""One POST to `/batch/`, and what its answer means.

    body --post()--> Answer(verdict, status, words, retry_after)

An event is acknowledged only by a 200 whose body says so: a proxy's page, or a 200 of something that is not
PostHog, is none. Everything else is one of four verdicts, and delivery.py acts on them: try again later,
split the body, look for the refused event, or stop because a person must change something.

`sent_at` is never sent (PostHog would shift every timestamp by the network's latency), and a body is posted
byte for byte the same on every try. A 400 counts only in PostHog's own words, which are plain text: the page of
a proxy, or its silence, says nothing about an event, and must not turn good ones into dead letters.
"""

import datetime as dt
import email.utils
import json
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import certifi
import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.posthog.connections import bounded

_ANSWER_BYTES = 4096
_WORDS = 300
# The standard has whole seconds; servers write fractions of them, too.
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
# A socket's time-out bounds the whole of one send: pieces keep a slow line from being taken for a dead one.
_UPLOAD_BYTES = 64 * 1024
# A name that does not resolve or a broken handshake seldom mends itself; a restart of a resolver takes seconds.
_SHORT_PATIENCE_SECONDS = 15.0
# OpenSSL's reasons that a person must see to; a handshake that was merely cut is tried again.
_TLS_SETTINGS = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNSUPPORTED_PROTOCOL", "UNKNOWN_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE", "NO_PROTOCOLS_AVAILABLE",
    }
)  # fmt: skip


class Verdict(Enum):
    """What to do after an answer."""

    ACKNOWLEDGED = "acknowledged"
    RETRY = "retry"
    SPLIT = "split"
    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    MISCONFIGURED = "misconfigured"


_FINAL = {400: Verdict.REFUSED, 401: Verdict.UNAUTHORIZED, 413: Verdict.SPLIT}


@dataclass(frozen=True, slots=True)
class Answer:
    """A POST's outcome. `status` is 0 when no answer came; `overloaded` asks for fewer connections.

    `patience` is how many seconds of retries this failure is worth at most, None for the usual budget.
    """

    verdict: Verdict
    status: int
    words: str
    retry_after: float | None = None
    overloaded: bool = False
    patience: float | None = None


class CaptureClient:
    """Posts bodies to one PostHog host over a pool of kept-alive connections. Thread-safe.

    `secret` is the project key: an answer that quotes it, as proxies do with what they refuse, loses it here.
    """

    def __init__(
        self,
        host: str,
        *,
        connections: int = 8,
        timeout_seconds: float = 60.0,
        ca_bundle: str | None = None,
        proxy: str | None = None,
        secret: str = "",
    ) -> None:
        self.url = f"{host}/batch/"
        self._secret = secret.encode()
        self._timeout = timeout_seconds
        timeout = urllib3.Timeout(connect=min(10.0, timeout_seconds), read=timeout_seconds)
        options: dict[str, Any] = {
            "maxsize": connections,
            "block": True,
            "retries": False,
            "timeout": timeout,
            "ssl_context": _tls(ca_bundle),
        }
        self._pool: urllib3.PoolManager = (
            urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
        )
        bounded(self._pool, timeout_seconds)

    def post(self, body: bytes) -> Answer:
        """Post one gzip'd body. Never raises for what a server or network does."""
        try:
            response = self._pool.request(
                "POST",
                self.url,
                body=_pieces(body),
                headers={
                    "Content-Type": "application/json",
                    "Content-Encoding": "gzip",
                    "Content-Length": str(len(body)),
                },
                preload_content=False,
                redirect=False,
            )
            content = self._content(response)
        except (HTTPError, OSError) as error:
            return _no_answer(error)
        return classify(response.status, redacted(content, self._secret), response.headers.get("Retry-After"))

    def _content(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """The beginning of an answer; reading it whole leaves the connection for the next body."""
        content, deadline = b"", time.monotonic() + self._timeout
        whole = False
        try:
            while len(content) < _ANSWER_BYTES and not whole:
                piece = response.read1(_ANSWER_BYTES, decode_content=True)
                content, whole = content + piece, not piece
                _not_later_than(deadline, self._timeout)
        finally:
            if not whole:
                # One that trickles in, or never ends, costs its connection and not the sender.
                response.close()
            response.release_conn()
        return content

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()


def redacted(content: bytes, secret: bytes) -> bytes:
    """What a server said without a key that it quotes."""
    return content.replace(secret, b"<key>") if secret else content


def _not_later_than(deadline: float, seconds: float) -> None:
    if time.monotonic() > deadline:
        raise HTTPTimeoutError(f"the answer was not complete after {seconds:.0f} s")


def _pieces(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    return (bytes(view[start : start + _UPLOAD_BYTES]) for start in range(0, len(body), _UPLOAD_BYTES))


def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle or certifi.where())
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"delivery.ca_bundle {ca_bundle!r} cannot be read: {error}") from None


def classify(status: int, content: bytes, retry_after: str | None = None) -> Answer:
    """What an HTTP answer means (PostHog's capture, `/batch/` v0)."""
    words = _short(content)
    if status == 200:
        if _says_ok(content):
            return Answer(Verdict.ACKNOWLEDGED, status, words)
        return Answer(Verdict.RETRY, status, f"200, but not PostHog's word of acceptance: {words}")
    if status == 400 and (not words or words.startswith("<")):
        return Answer(Verdict.RETRY, status, f"400, but not in PostHog's words: {words}")
    if verdict := _FINAL.get(status):
        return Answer(verdict, status, words)
    if status in {408, 425, 429} or status >= 500:
        wait = parse_retry_after(retry_after)
        return Answer(Verdict.RETRY, status, words, wait, overloaded=status in {408, 429, 503, 504})
    if status == 404:
        # A proxy or a restarting ingress answers 404 for a while; PostHog's own clients retry it too.
        return Answer(Verdict.RETRY, status, f"404, is POSTHOG_HOST a capture host? {words}")
    return Answer(Verdict.MISCONFIGURED, status, words)


def parse_retry_after(value: str | None, now: dt.datetime | None = None) -> float | None:
    """Seconds from a `Retry-After` header, which holds seconds or an HTTP date; None when it holds neither."""
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - (now or dt.datetime.now(dt.UTC))).total_seconds())


def _says_ok(content: bytes) -> bool:
    """PostHog answers {"status":"Ok"}; its older service said {"status":1}.

    The answer has a field for quotas that are used up. For events PostHog leaves it empty and drops them in silence;
    should it ever name them there, they are not taken.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return False
    if not isinstance(answer, dict) or "events" in str(answer.get("quota_limited")):
        return False
    return bool(answer.get("status") in ("Ok", "ok") or answer.get("status") is True or answer.get("status") == 1)


def _no_answer(error: Exception) -> Answer:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    words = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, LocationParseError):
        return Answer(Verdict.MISCONFIGURED, 0, f"POSTHOG_HOST is no host: {cause}")
    if isinstance(cause, (SSLError, ssl.SSLError)):
        settings = _is_tls_setting(cause)
        told = f"TLS failed: {cause}"
        return Answer(Verdict.MISCONFIGURED if settings else Verdict.RETRY, 0, told, patience=_SHORT_PATIENCE_SECONDS)
    if isinstance(cause, NameResolutionError):
        told = f"the name of POSTHOG_HOST does not resolve: {cause}"
        return Answer(Verdict.RETRY, 0, told, patience=_SHORT_PATIENCE_SECONDS)
    # urllib3 counts a refused connection among the time-outs; a server that is not there is not overloaded.
    timed_out = isinstance(cause, (HTTPTimeoutError, TimeoutError)) and not isinstance(cause, NewConnectionError)
    return Answer(Verdict.RETRY, 0, words, overloaded=timed_out)


def _is_tls_setting(error: Exception) -> bool:
    """Whether a TLS failure is one that trying again repeats: a certificate or a protocol that does not fit."""
    inner = next((one for one in (error, *error.args) if isinstance(one, ssl.SSLError)), None)
    return inner is not None and (inner.reason in _TLS_SETTINGS or isinstance(inner, ssl.SSLCertVerificationError))


def _short(content: bytes) -> str:
    text = " ".join(content.decode("utf-8", "replace").split())
    return text if len(text) <= _WORDS else text[:_WORDS] + "..."
