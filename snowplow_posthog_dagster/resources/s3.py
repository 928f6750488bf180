"""The S3 resource: how the archive and the workspace are reached.

An own resource instead of dagster-aws's, whose client has ten connections, no timeouts, and is made anew at
every call (up to 0.2 s): a step here keeps one client with as many connections as it uses.
"""

from typing import Literal

import dagster as dg
from pydantic import Field

from snowplow_posthog_dagster.storage.s3 import Connection


class SnowplowS3Resource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Connection settings of S3; what is left empty is boto3's choice (environment, profile, role)."""

    endpoint_url: str | None = Field(None, description="Only for an S3-compatible service; AWS needs none")
    region: str | None = Field(None, description="Region of the buckets")
    profile: str | None = Field(None, description="A profile of ~/.aws/config")
    access_key_id: str | None = Field(None, description="Use dg.EnvVar; normally boto3 finds the keys")
    secret_access_key: str | None = Field(None, description="Use dg.EnvVar; normally boto3 finds the keys")
    max_connections: int = Field(32, description="Connections kept open by a process")
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    max_attempts: int = Field(5, description="Tries of one request, by boto3")
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    ca_bundle: str | None = Field(None, description="A file of CA certificates")
    proxy: str | None = Field(None, description="URL of an HTTP proxy")

    def connection(self) -> Connection:
        """These settings for `storage.s3.connect`."""
        return Connection(
            endpoint_url=self.endpoint_url,
            region=self.region,
            profile=self.profile,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            max_connections=self.max_connections,
            connect_timeout_seconds=self.connect_timeout_seconds,
            read_timeout_seconds=self.read_timeout_seconds,
            max_attempts=self.max_attempts,
            addressing_style=self.addressing_style,
            ca_bundle=self.ca_bundle,
            proxy=self.proxy,
        )
