"""One POST to `/batch/`, and what its answer means.

    body --post()--> Answer(verdict, status, words, retry_after)

An event is acknowledged only by a 200 whose body says so: a proxy's page, or a 200 of something that is not
PostHog, is none. Everything else is one of four verdicts, and delivery.py acts on them: try again later,
split the body, look for the refused event, or stop because a person must change something.

`sent_at` is never sent (PostHog would shift every timestamp by the network's latency), and a body is posted
byte for byte the same on every try.
"""

import datetime as dt
import email.utils
import json
import ssl
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
    ReadTimeoutError,
    SSLError,
)

from snowplow_posthog_dagster.errors import SettingsError

_ANSWER_BYTES = 4096
_WORDS = 300


class Verdict(Enum):
    """What to do after an answer."""

    ACKNOWLEDGED = "acknowledged"
    RETRY = "retry"
    SPLIT = "split"
    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Answer:
    """A POST's outcome. `status` is 0 when no answer came; `overloaded` asks for fewer connections."""

    verdict: Verdict
    status: int
    words: str
    retry_after: float | None = None
    overloaded: bool = False


class CaptureClient:
    """Posts bodies to one PostHog host over a pool of kept-alive connections. Thread-safe."""

    def __init__(
        self,
        host: str,
        *,
        connections: int = 8,
        timeout_seconds: float = 60.0,
        ca_bundle: str | None = None,
        proxy: str | None = None,
    ) -> None:
        self.url = f"{host}/batch/"
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

    def post(self, body: bytes) -> Answer:
        """Post one gzip'd body. Never raises for what a server or network does."""
        try:
            response = self._pool.request(
                "POST",
                self.url,
                body=body,
                headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
                preload_content=False,
                redirect=False,
            )
            try:
                content = response.read(_ANSWER_BYTES, decode_content=True)
                response.drain_conn()
            finally:
                response.release_conn()
        except (HTTPError, OSError) as error:
            return _no_answer(error)
        return classify(response.status, content, response.headers.get("Retry-After"))

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()


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
    if status == 400:
        return Answer(Verdict.REFUSED, status, words)
    if status == 413:
        return Answer(Verdict.SPLIT, status, words)
    if status == 401:
        return Answer(Verdict.UNAUTHORIZED, status, words)
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
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - (now or dt.datetime.now(dt.UTC))).total_seconds())


def _says_ok(content: bytes) -> bool:
    """PostHog answers {"status":"Ok"}; its older service said {"status":1}."""
    try:
        answer = json.loads(content)
    except ValueError:
        return False
    return isinstance(answer, dict) and (
        answer.get("status") in ("Ok", "ok") or answer.get("status") is True or answer.get("status") == 1
    )


def _no_answer(error: Exception) -> Answer:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, (SSLError, ssl.SSLError)):
        return Answer(Verdict.MISCONFIGURED, 0, f"TLS failed: {cause}")
    if isinstance(cause, LocationParseError):
        return Answer(Verdict.MISCONFIGURED, 0, f"POSTHOG_HOST is no host: {cause}")
    if isinstance(cause, NameResolutionError):
        return Answer(Verdict.RETRY, 0, f"the name of POSTHOG_HOST does not resolve: {cause}")
    timed_out = isinstance(cause, (ReadTimeoutError, TimeoutError))
    refused = isinstance(cause, NewConnectionError)
    return Answer(Verdict.RETRY, 0, f"{type(cause).__name__}: {cause}", overloaded=timed_out and not refused)


def _short(content: bytes) -> str:
    text = " ".join(content.decode("utf-8", "replace").split())
    return text if len(text) <= _WORDS else text[:_WORDS] + "..."
