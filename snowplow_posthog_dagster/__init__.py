"""Snowplow's enriched events from S3 into PostHog, as a Dagster code location.

`defs` is resolved on first use, so that importing a pure part (a parser in a notebook, a pool worker of
the transform) does not pay for importing Dagster: 0.8 s and about 60 MB per process.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snowplow_posthog_dagster.definitions import defs as defs

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "defs":
        from snowplow_posthog_dagster.definitions import defs

        return defs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", "defs"]
