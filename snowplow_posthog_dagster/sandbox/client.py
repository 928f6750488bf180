"""What the demo and the tests ask of a running stand-in: counts, rows, sessions, and faults to play."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import urllib3

from snowplow_posthog_dagster.sandbox.faults import Fault, Limit
from snowplow_posthog_dagster.sandbox.projects import PERSONAL_API_KEY, PROJECT_API_KEY, Project
from snowplow_posthog_dagster.sandbox.stand_in import QueryOptions


class StandInError(Exception):
    """The stand-in refused a control request; the message holds its words."""


class StandInClient:
    """One stand-in, reached at `host` (`http://127.0.0.1:port`)."""

    project_api_key = PROJECT_API_KEY
    personal_api_key = PERSONAL_API_KEY
    project_id = "1"

    def __init__(self, host: str) -> None:
        self.host = host.rstrip("/")
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=600))

    def answers(self) -> bool:
        """Whether a stand-in answers at this address."""
        try:
            response = self._http.request("GET", f"{self.host}/_readiness", timeout=1.0)
        except urllib3.exceptions.HTTPError:
            return False
        return response.status == 200 and response.headers.get("Server", "").startswith("PostHogStandIn")

    def progress(self) -> dict[str, Any]:
        """Sums over the capture requests: requests, received, raw_rows, lost_events, bytes, answers. Cheap."""
        return self._get("progress")

    def totals(self) -> dict[str, Any]:
        """`progress` and merged_rows, lost, violations, peaks (events by window in seconds), most_in_flight, faults."""
        return self._get("totals")

    def raw_rows(self) -> int:
        """Stored copies of events."""
        return int(self.progress()["raw_rows"])

    def merged_rows(self) -> int:
        """Events that PostHog would be left with."""
        return int(self.totals()["merged_rows"])

    def days(self, token: str | None = None) -> list[dict[str, Any]]:
        """Merged rows by `day` and `event`: `events`, and `ids` for the distinct ids."""
        return self._list("days", token)

    def violations(self) -> dict[str, int]:
        """How often each thing happened that a loader must never cause; {} is what a test wants."""
        return self._get("violations")

    def lost(self) -> list[dict[str, Any]]:
        """Events that were answered with 200 and dropped, with the `reason`."""
        return self._list("lost")

    def requests(self) -> list[dict[str, Any]]:
        """Every capture request: arrived (microseconds), answer, fault, received, stored, bytes, historical, ..."""
        return self._list("requests")

    def sessions(self, token: str | None = None) -> list[dict[str, Any]]:
        """Sessions as PostHog sees them, see `sessions.Session`."""
        return self._list("sessions", token)

    def persons(self) -> list[dict[str, Any]]:
        """Persons as PostHog would hold them, see `persons.Person`."""
        return self._list("persons")

    def merged(self, token: str | None = None) -> Iterator[dict[str, Any]]:
        """The events that PostHog would be left with, by uuid, with the number of `copies`."""
        return self._lines("merged", token)

    def raw(self, token: str | None = None) -> Iterator[dict[str, Any]]:
        """Every stored copy in the order of arrival."""
        return self._lines("raw", token)

    def play(self, *faults: Fault, seed: int = 0) -> None:
        """Put these faults in force instead of the earlier ones; request numbers start at 1 again."""
        self._put("faults", {"faults": [fault.model_dump(mode="json") for fault in faults], "seed": seed})

    def limit(
        self, events_per_second: float | None, *, over: str = "429", retry_after_seconds: int | None = None
    ) -> None:
        """Take so many events a second from now on, and answer more with `over`: 429, 503 or slow."""
        limit = {"events_per_second": events_per_second, "over": over, "retry_after_seconds": retry_after_seconds}
        self._put("limit", Limit.model_validate(limit).model_dump(mode="json"))

    def set_queries(self, options: QueryOptions) -> None:
        """Change how the query API behaves: lag, limit, duplicates."""
        self._put("queries", options.model_dump(mode="json"))

    def set_projects(self, projects: Sequence[Project]) -> None:
        """Replace the projects and their settings."""
        self._put("projects", [project.model_dump(mode="json") for project in projects])

    def reset(self) -> None:
        """Forget all requests, events, faults and settings."""
        self._call("PUT", "reset", b"")

    def query(self, hogql: str, values: dict[str, Any] | None = None) -> list[list[Any]]:
        """The rows of a HogQL query, through the same API that a reconciliation uses."""
        query = {"kind": "HogQLQuery", "query": hogql, "values": values or {}}
        response = self._http.request(
            "POST",
            f"{self.host}/api/projects/{self.project_id}/query/",
            body=orjson.dumps({"query": query}),
            headers={"Authorization": f"Bearer {self.personal_api_key}", "Content-Type": "application/json"},
        )
        answer = orjson.loads(response.data)
        if response.status != 200:
            raise StandInError(f"{response.status}: {answer.get('detail')}")
        rows: list[list[Any]] = answer["results"]
        return rows

    def _get(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(self._call("GET", name, None).data)
        return answer

    def _list(self, name: str, token: str | None = None) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = orjson.loads(self._call("GET", _narrowed(name, token), None).data)
        return answer

    def _put(self, name: str, value: Any) -> None:
        self._call("PUT", name, orjson.dumps(value))

    def _call(self, method: str, name: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
        response = self._http.request(method, f"{self.host}/_sandbox/{name}", body=body)
        if response.status != 200:
            raise StandInError(f"{method} {name}: {response.status} {response.data.decode(errors='replace')}")
        return response

    def _lines(self, name: str, token: str | None) -> Iterator[dict[str, Any]]:
        url = f"{self.host}/_sandbox/{_narrowed(name, token)}"
        response = self._http.request("GET", url, preload_content=False)
        if response.status != 200:
            raise StandInError(f"GET {name}: {response.status}")
        rest = b""
        for chunk in response.stream(1 << 20):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(orjson.loads, lines)
        response.release_conn()


def _narrowed(name: str, token: str | None) -> str:
    return f"{name}?token={token}" if token else name
