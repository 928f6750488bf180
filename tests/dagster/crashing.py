"""The code location with a delivery that crashes for no reason that anybody foresaw; for test_secrets.py."""

from snowplow_posthog_dagster.definitions import defs
from snowplow_posthog_dagster.posthog.capture import Answer, CaptureClient

__all__ = ["defs"]


def _crash(client: CaptureClient, body: bytes) -> Answer:
    raise RuntimeError(f"an unforeseen crash with a body of {len(body)} bytes in hand")


CaptureClient.post = _crash  # type: ignore[method-assign, assignment]
