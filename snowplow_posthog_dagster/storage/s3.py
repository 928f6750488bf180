"""One S3 bucket, with its errors turned into the project's own.

Everything that reads or writes S3 passes through `Bucket`, so that there is one place where a missing
permission, a wrong region or a dead endpoint becomes one line that says what to do. Listing is always paged:
S3 hands out at most 1,000 keys an answer, and a loader that forgets it loses files in silence.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError

from snowplow_posthog_dagster.errors import (
    BrokenObjectError,
    GoneObjectError,
    RefusedObjectError,
    SettingsError,
    StorageUnavailableError,
)
from snowplow_posthog_dagster.storage.s3_session import new_session

# Answers of S3 that name something a person must change, and the change.
_CURES = {
    "AccessDenied": "grant the credentials this permission on the bucket",
    "403": "grant the credentials s3:ListBucket and s3:GetObject on the bucket",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known to this S3 service",
    "ExpiredToken": "renew the AWS session token",
    "InvalidToken": "renew the AWS session token",
    "NoSuchBucket": "check the bucket's name and the account",
    "PermanentRedirect": "set AWS_REGION to the bucket's region",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the bucket's region",
    "RequestTimeTooSkewed": "set the clock of this machine: it differs from S3's by more than S3 allows",
    "InvalidObjectState": "is archived in Glacier or an archive tier; restore it first",
    "KMS.DisabledException": "enable the KMS key of the workspace",
}
# Answers that can concern one object alone: the ACL of another account that wrote it, the KMS key that it is under.
_REFUSED = {"AccessDenied", "403", "KMS.DisabledException"}
_MISSING = {"NoSuchKey", "404", "NotFound"}
# A page of a listing has several of these, also one without keys.
_LISTING = {"Name", "Prefix", "MaxKeys", "KeyCount", "IsTruncated", "Contents"}
# Beside its own tree, botocore raises a bare RuntimeError for credentials that are expired when they were just
# renewed, and ResponseParserError for an answer that is no XML, as a proxy gives it.
_UNAVAILABLE = (BotoCoreError, ResponseParserError, RuntimeError, OSError)


@dataclass(frozen=True)
class Connection:
    """How to reach an S3 service. None leaves the choice to boto3 (environment, profile, instance role)."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    max_connections: int = 32
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    max_attempts: int = 5
    addressing_style: str = "auto"
    ca_bundle: str | None = None
    proxy: str | None = None


def connect(connection: Connection) -> Any:
    """Make an S3 client of botocore (thread-safe). It opens no connection yet.

    The region is the setting's, else AWS_REGION's: every other AWS program reads that variable, and botocore knows
    AWS_DEFAULT_REGION alone. Raises SettingsError when profile, region or endpoint are none.
    """
    config = Config(
        max_pool_connections=connection.max_connections,
        connect_timeout=connection.connect_timeout_seconds,
        read_timeout=connection.read_timeout_seconds,
        retries={"max_attempts": connection.max_attempts, "mode": "standard"},
        s3={"addressing_style": connection.addressing_style},  # type: ignore[arg-type]
        proxies={"http": connection.proxy, "https": connection.proxy} if connection.proxy else None,
        # Streamed reads are compared by ETag and gzip's own CRC; some S3-compatible servers answer ranged
        # reads with a checksum of the whole object.
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
        # botocore's own names 20 things about this machine and puts them together for every request: 0.1 ms of 1.1.
        user_agent="snowplow-posthog-dagster",
    )
    try:
        session = new_session()
        if connection.profile is not None:
            session.set_config_variable("profile", connection.profile)
        return session.create_client(
            "s3",
            region_name=connection.region or os.environ.get("AWS_REGION", "").strip() or None,
            endpoint_url=connection.endpoint_url,
            aws_access_key_id=connection.access_key_id,
            aws_secret_access_key=connection.secret_access_key,
            aws_session_token=connection.session_token,
            verify=connection.ca_bundle,
            config=config,
        )
    except ProfileNotFound as error:
        name = repr(connection.profile) if connection.profile else "of AWS_PROFILE"
        raise SettingsError(f"AWS profile {name} does not exist: {error}") from None
    except InvalidRegionError as error:
        raise SettingsError(f"set AWS_REGION, or `s3.region` in the file, to the bucket's: {error}") from None
    except ValueError as error:
        name = (
            repr(connection.endpoint_url) if connection.endpoint_url else "of AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"
        )
        raise SettingsError(f"the S3 endpoint {name} is not a URL: {error}") from None


@dataclass(frozen=True, slots=True)
class Listed:
    """One key of a listing. `etag` is unquoted, `size` in bytes, `modified` seconds since 1970."""

    key: str
    etag: str
    size: int
    modified: float
    storage_class: str


@dataclass(frozen=True)
class Bucket:
    """A bucket and the client that reaches it; `put_options` go into every PUT (encryption)."""

    client: Any
    name: str
    put_options: dict[str, str] = field(default_factory=dict)

    def listing(self, prefix: str, *, start_after: str = "") -> Iterator[Listed]:
        """Yield every key under `prefix`, page by page, in S3's order."""
        with self._translated("list", prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, **({"StartAfter": start_after} if start_after else {})
            )
            for page in pages:
                if not _LISTING & page.keys():
                    # An empty answer, or one of a proxy: not the same as a place without keys.
                    raise StorageUnavailableError(f"cannot list s3://{self.name}/{prefix}: the answer is no listing")
                for item in page.get("Contents", []):
                    yield Listed(
                        key=item["Key"],
                        etag=_unquoted(item.get("ETag", "")),
                        size=item["Size"],
                        modified=item["LastModified"].timestamp(),
                        storage_class=item.get("StorageClass", "STANDARD"),
                    )

    def get(self, key: str) -> bytes:
        """Read a whole object. Raises GoneObjectError when it does not exist."""
        with self._translated("read", key):
            return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def stream(self, key: str, *, etag: str, chunk_bytes: int) -> tuple[str, Iterator[bytes]]:
        """Open an object; returns the ETag that was answered and its chunks.

        `If-Match` asks for the listed bytes; the answer's ETag comes back too, because some servers ignore
        the condition. Raises GoneObjectError, BrokenObjectError for one that an archive tier holds, RefusedObjectError
        for one that these credentials may not read, or ClientError's 412 as `PreconditionFailed` in the ETag "".
        """
        with self._translated("read", key, allow={"PreconditionFailed", "412"}):
            try:
                answer = self.client.get_object(Bucket=self.name, Key=key, IfMatch=f'"{etag}"')
            except ClientError as error:
                if _code(error) in {"PreconditionFailed", "412"}:
                    return "", iter(())
                if _code(error) == "InvalidObjectState":
                    # Its storage class may still say INTELLIGENT_TIERING, so a listing does not tell.
                    raise BrokenObjectError(f"s3://{self.name}/{key} {_CURES['InvalidObjectState']}") from None
                if _code(error) in _REFUSED:
                    raise RefusedObjectError(_words("read", f"s3://{self.name}/{key}", _code(error))) from None
                raise
            if "ETag" not in answer:
                raise BrokenObjectError(
                    f"s3://{self.name}/{key} was answered without an ETag, so nobody can tell what it is"
                )
            return _unquoted(answer["ETag"]), self._chunks(key, answer["Body"], chunk_bytes)

    def _chunks(self, key: str, body: Any, chunk_bytes: int) -> Iterator[bytes]:
        with contextlib.closing(body), self._translated("read", key):
            while chunk := body.read(chunk_bytes):
                yield chunk

    def put(self, key: str, data: bytes) -> None:
        """Write an object whole; S3 shows it either complete or not at all."""
        with self._translated("write", key):
            self.client.put_object(Bucket=self.name, Key=key, Body=data, **self.put_options)

    def put_file(self, key: str, file: IO[bytes]) -> None:
        """The same from a file that stands at its beginning, of which no more than a buffer is in memory."""
        with self._translated("write", key):
            self.client.put_object(Bucket=self.name, Key=key, Body=file, **self.put_options)

    def delete(self, keys: list[str]) -> None:
        """Delete keys, 1,000 a request; keys that do not exist are no error."""
        for start in range(0, len(keys), 1000):
            chunk = [{"Key": key} for key in keys[start : start + 1000]]
            with self._translated("delete", keys[start]):
                answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": chunk, "Quiet": True})
            for refused in answer.get("Errors", []):
                if refused.get("Code") not in _MISSING:
                    raise StorageUnavailableError(
                        f"s3://{self.name}/{refused['Key']}: delete was refused ({refused.get('Code')})"
                    )

    def modified(self, key: str) -> float | None:
        """Seconds since 1970 of the key's last write by S3's clock, or None when it does not exist."""
        try:
            with self._translated("look up", key):
                return float(self.client.head_object(Bucket=self.name, Key=key)["LastModified"].timestamp())
        except GoneObjectError:
            return None

    def is_restored(self, key: str) -> bool:
        """Whether a key of an archived storage class has a restored copy that can be read."""
        with self._translated("look up", key):
            found = self.client.head_object(Bucket=self.name, Key=key)
        return 'ongoing-request="false"' in found.get("Restore", "")

    @contextlib.contextmanager
    def _translated(self, verb: str, key: str, allow: frozenset[str] | set[str] = frozenset()) -> Iterator[None]:
        place = f"s3://{self.name}/{key}"
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _MISSING:
                raise GoneObjectError(f"{place} does not exist") from None
            if code in _CURES and code not in allow:
                raise SettingsError(_words(verb, place, code)) from None
            raise StorageUnavailableError(f"cannot {verb} {place}: S3 answered {code}") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise SettingsError(
                f"cannot {verb} {place}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
            ) from None
        except _UNAVAILABLE as error:
            raise StorageUnavailableError(f"cannot {verb} {place}: {type(error).__name__}: {error}") from error


def _unquoted(etag: str) -> str:
    """An ETag as it identifies the bytes: proxies that compress answers mark it as weak (`W/`)."""
    return etag.removeprefix("W/").strip('"')


def _words(verb: str, place: str, code: str) -> str:
    return f"cannot {verb} {place}: {code}; {_CURES[code]}"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
