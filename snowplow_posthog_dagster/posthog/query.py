"""Reading back from PostHog: the project's name, and events by HogQL.

A 200 from `/batch/` does not mean that an event was stored: an unknown key, a billing limit or a team's rule
drops it in silence. What arrived is therefore asked of PostHog itself. That needs a personal API key
(`phx_`), and another host than capture: us.i.posthog.com receives, us.posthog.com answers.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import certifi
import urllib3
from urllib3.exceptions import HTTPError

from snowplow_posthog_dagster.errors import CaptureUnavailableError, SettingsError
from snowplow_posthog_dagster.posthog.capture import parse_retry_after, redacted

_TRIES = 5
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Project:
    """A PostHog project as its API shows it; `api_token` is the project API key that captures into it."""

    project_id: str
    name: str
    api_token: str


def application_host(capture_host: str) -> str:
    """The host of PostHog's API for a capture host: `.i.posthog.com` is PostHog Cloud's ingestion only."""
    return capture_host.replace(".i.posthog.com", ".posthog.com")


class QueryClient:
    """PostHog's project and query API."""

    def __init__(
        self,
        capture_host: str,
        project_id: str,
        personal_key: str,
        *,
        timeout_seconds: float = 60.0,
        ca_bundle: str | None = None,
        proxy: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = f"{application_host(capture_host)}/api/projects/{project_id}/"
        self._secret = personal_key.encode()
        self._headers = {"Authorization": f"Bearer {personal_key}", "Content-Type": "application/json"}
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=10.0, read=timeout_seconds),
            "retries": False,
            "ca_certs": ca_bundle or certifi.where(),
        }
        self._pool: urllib3.PoolManager = (
            urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
        )
        self._sleep = sleep

    def project(self) -> Project:
        """The project's name and capture key. Raises SettingsError when the key or the id are wrong."""
        found = self._ask("GET", self._base, None)
        return Project(str(found.get("id", "")), str(found.get("name", "")), str(found.get("api_token", "")))

    def project_of(self, capture_key: str) -> Project:
        """The project, after making sure that the capture key is its own: PostHog takes events of any key it knows.

        Raises SettingsError when the key belongs elsewhere, and what `project` raises.
        """
        found = self.project()
        if found.api_token != capture_key:
            raise SettingsError(
                f"POSTHOG_PROJECT_API_KEY does not belong to project {found.project_id} ({found.name}); events would"
                " go elsewhere: copy the key from that project's settings"
            )
        return found

    def rows(self, hogql: str) -> list[list[Any]]:
        """The result rows of a HogQL query. Raises SettingsError or CaptureUnavailableError."""
        url = f"{self._base}query/"
        answer = self._ask("POST", url, {"query": {"kind": "HogQLQuery", "query": hogql}})
        rows = answer.get("results")
        if not isinstance(rows, list):
            # Not the same as no rows, which would be a gap.
            raise CaptureUnavailableError(f"{url} answered 200 without results, but with {', '.join(sorted(answer))}")
        return rows

    def _ask(self, method: str, url: str, payload: dict[str, Any] | None) -> dict[str, Any]:
        body = json.dumps(payload).encode() if payload is not None else None
        words = ""
        for attempt in range(_TRIES):
            try:
                response = self._pool.request(method, url, body=body, headers=self._headers)
            except HTTPError as error:
                words = f"{type(error).__name__}: {error}"
                self._sleep(min(2.0**attempt, _LONGEST_WAIT_SECONDS))
                continue
            said = redacted(response.data, self._secret)
            words = f"{response.status} {said[:200].decode('utf-8', 'replace')}"
            if response.status == 200:
                return _object(response.data, url)
            if response.status in {401, 403}:
                raise SettingsError(
                    f"{url} answered {response.status}: POSTHOG_PERSONAL_API_KEY (phx_) must have access to this"
                    " project, with the scopes project:read and query:read"
                )
            if response.status == 404:
                raise SettingsError(f"{url} answered 404: check POSTHOG_PROJECT_ID and POSTHOG_HOST")
            if response.status not in {408, 425, 429} and response.status < 500:
                raise SettingsError(f"{url} refused the request: {words}")
            wait = parse_retry_after(response.headers.get("Retry-After"))
            self._sleep(min(wait if wait is not None else 2.0**attempt, _LONGEST_WAIT_SECONDS))
        raise CaptureUnavailableError(f"{url} did not answer in {_TRIES} tries; last: {words}")


def _object(data: bytes, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except ValueError:
        raise SettingsError(f"{url} answered something that is not JSON; is POSTHOG_HOST a PostHog host?") from None
    if not isinstance(answer, dict):
        raise SettingsError(f"{url} answered JSON of another shape; is POSTHOG_HOST a PostHog host?")
    return answer


def quoted(text: str) -> str:
    """A HogQL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
