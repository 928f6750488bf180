"""`doctor`: is everything there that a load needs? Each failure says what to fix.

settings -> code location -> AWS credentials -> archive (list, read) -> workspace (write, forgotten people, a pause)
-> PostHog (host, key, project) -> one test event by PostHog's own client, found again by query.

A check that finds what stops no run, and what somebody should know, warns.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any

import boto3
import certifi
import typer
import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from snowplow_posthog_dagster.commands.terminal import announce_sending, err, out, plain, settings
from snowplow_posthog_dagster.errors import SettingsError, SnowplowPostHogError
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, mapper_of, query_client_of, workspace_of
from snowplow_posthog_dagster.posthog.query import application_host, quoted
from snowplow_posthog_dagster.settings import Settings, in_region
from snowplow_posthog_dagster.storage.archive import is_data
from snowplow_posthog_dagster.storage.s3 import Bucket, connect
from snowplow_posthog_dagster.storage.target import check_target, current_pause

Check = Callable[[Settings], str]


class Warned(str):
    """The words of a check that passes and that somebody should read all the same."""

    __slots__ = ()


_KEYS_LOOKED_AT = 1_000
_SEEN_TRIES = 20
_SEEN_PAUSE_SECONDS = 3.0


def doctor(
    test_event: Annotated[bool, typer.Option(help="Send one test event and wait to find it by query.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Go on although the target is marked production.")] = False,
) -> None:
    """Check settings, S3 and PostHog, and say what to fix."""
    current = settings()
    results = [_result(name, check, current) for name, check in CHECKS]
    if test_event and None not in results:
        announce_sending(current, "1 test event", yes=yes)
        results.append(_result("test event", _test_event, current))
    if None in results:
        err.print(f"{results.count(None)} checks failed.")
        raise typer.Exit(1)
    warned = sum(isinstance(found, Warned) for found in results)
    out.print(f"Nothing fails; {warned} warned." if warned else "All is well.")


def _result(name: str, check: Check, current: Settings) -> str | None:
    """Say what came of a check; None when it failed, whoever raised the error: the next one runs all the same."""
    try:
        found = check(current)
    except (SnowplowPostHogError, BotoCoreError, ClientError, OSError) as error:
        out.print(f"[bold red]fails[/] {name}: {plain(str(error))}")
        return None
    mark = "[bold yellow]warns[/]" if isinstance(found, Warned) else "[green]ok[/]   "
    out.print(f"{mark} {name}: {plain(found)}")
    return found


def _settings(current: Settings) -> str:
    bucket, prefix = current.workspace_place
    mapping = mapper_of(current)
    return (
        f"archive {current.archive_bucket}, workspace s3://{bucket}/{prefix}, target"
        f" {current.environment.posthog_target}, mapping version {mapping.mapping_version}"
    )


def _location(current: Settings) -> str:
    """Dagster has rules of its own for schedules and owners, and says so when it builds them."""
    from dagster import DagsterInvalidDefinitionError

    try:
        from snowplow_posthog_dagster.definitions import build_definitions

        build_definitions(current)
    except DagsterInvalidDefinitionError as error:
        raise SettingsError(f"Dagster cannot load it: {error}") from None
    return f"loads, with the days {current.first_day} to {current.last_day}"


def _credentials(current: Settings) -> str:
    found = boto3.session.Session(profile_name=current.file.s3.profile).get_credentials()
    if found is None:
        raise SettingsError("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role")
    return f"from {found.method} (key id ending in {(found.access_key or '')[-4:]})"


def _archive(current: Settings) -> str:
    archive = archive_of(current, connection_of(current))
    entry = archive.entries[-1]
    data = list(islice(filter(is_data, archive.bucket.listing(entry.prefix)), _KEYS_LOOKED_AT))
    if not data:
        raise SettingsError(
            f"s3://{archive.bucket.name}/{entry.prefix} can be listed and holds no data; check `archive:` in the file"
        )
    layout = replace(entry, start=None, until=None)  # of whatever day
    fitting = [listed for listed in data if layout.day_of(listed.key)]
    found = (fitting or data)[0]
    _, chunks = archive.bucket.stream(found.key, etag=found.etag, chunk_bytes=1024)
    next(chunks, b"")
    read = f"listed and read s3://{archive.bucket.name}/{found.key}"
    if fitting:
        return read
    return Warned(
        f"{read}, but neither it nor what comes after it lies below {entry.prefix}{entry.layout}, where days are looked"
        " for; check `prefix` and `layout` in the section `archive` of the file"
    )


def _region(current: Settings) -> str:
    bucket = archive_of(current, connection_of(current)).bucket
    try:
        headers = bucket.client.head_bucket(Bucket=bucket.name)["ResponseMetadata"]["HTTPHeaders"]
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(f"the region of s3://{bucket.name} cannot be asked: {error}") from None
    region = headers.get("x-amz-bucket-region")
    if not region:
        return "this S3 names no region for the archive"
    if region.startswith("eu-") and in_region(current.host, "us"):
        return Warned(
            f"the archive is in {region} and {current.host} in the US: events leave the EU;"
            " `delivery.require_region: eu` refuses that"
        )
    return f"archive in {region}, events to {current.host}"


def _workspace(current: Settings) -> str:
    workspace = workspace_of(current, connection_of(current))
    key = workspace.key("leases", None, "doctor", uuid.uuid4().hex)
    bucket = Bucket(connect(connection_of(current)), workspace.bucket.name, current.put_options)
    bucket.put(key, b"{}")
    bucket.delete([key])
    return f"wrote, and deleted, below s3://{workspace.bucket.name}/{workspace.root}"


def _forgotten(current: Settings) -> str:
    mapper_of(current, workspace_of(current, connection_of(current)))
    return "the list of forgotten people is read, under the secret that made it"


def _pause(current: Settings) -> str:
    workspace = workspace_of(current, connection_of(current))
    found = current_pause(workspace)
    if found is None:
        return f"{workspace.target} is not paused"
    until = f" until {found.until}" if found.until else ""
    return Warned(f"{workspace.target} is paused{until} by {found.by}: {found.reason}; no run sends before `resume`")


def _host(current: Settings) -> str:
    section = current.file.delivery
    options: dict[str, Any] = {"timeout": 10.0, "retries": False, "ca_certs": section.ca_bundle or certifi.where()}
    with urllib3.ProxyManager(section.proxy, **options) if section.proxy else urllib3.PoolManager(**options) as pool:
        try:
            status = pool.request("GET", f"{current.host}/", redirect=False).status
        except urllib3.exceptions.HTTPError as error:
            raise SettingsError(f"{current.host} cannot be reached: {error}; check POSTHOG_HOST") from None
    return f"{current.host} answers ({status})"


def _key(current: Settings) -> str:
    identity = current.target_identity
    warning = "" if current.project_api_key.startswith("phc_") else " (project keys usually begin with phc_)"
    return f"fingerprint {identity.key_fingerprint}{warning}"


def _project(current: Settings) -> str:
    query = query_client_of(current)
    if query is None:
        return "not checked: set POSTHOG_PERSONAL_API_KEY and POSTHOG_PROJECT_ID to compare them"
    project = query.project_of(current.project_api_key)
    return f"project {project.project_id} is {project.name!r} and the capture key belongs to it"


def _target(current: Settings) -> str:
    workspace = workspace_of(current, connection_of(current))
    check_target(workspace, current.target_identity)
    return f"{workspace.target} stands for {current.host}, project {current.environment.posthog_project_id or '?'}"


def _test_event(current: Settings) -> str:
    """One event by PostHog's own client, as its documentation would have it, then found again by query."""
    from posthog import Posthog

    marker = str(uuid.uuid4())
    with _network_of_posthogs_client(current):
        client = Posthog(current.project_api_key, host=current.host, sync_mode=True, gzip=True)
        client.capture(
            "snowplow_posthog_doctor",
            distinct_id=f"doctor-{marker}",
            uuid=marker,
            properties={"$process_person_profile": False, "$geoip_disable": True},
        )
        client.shutdown()
    query = query_client_of(current)
    if query is None:
        return f"sent (uuid {marker}); without a personal key it is not looked for"
    for _ in range(_SEEN_TRIES):
        if query.rows(f"select uuid from events where uuid in ({quoted(marker)}) limit 1"):  # noqa: S608
            return f"sent and found again in {application_host(current.host)} (uuid {marker})"
        time.sleep(_SEEN_PAUSE_SECONDS)
    raise SettingsError(
        f"the test event {marker} was accepted but did not appear within {_SEEN_TRIES * _SEEN_PAUSE_SECONDS:.0f} s:"
        " unknown key, billing limit, or ingestion is behind; look in PostHog before loading"
    )


@contextlib.contextmanager
def _network_of_posthogs_client(current: Settings) -> Iterator[None]:
    """PostHog's client takes a proxy and a CA from the environment only (it is built on requests)."""
    section = current.file.delivery
    wanted = {"HTTP_PROXY": section.proxy, "HTTPS_PROXY": section.proxy, "REQUESTS_CA_BUNDLE": section.ca_bundle}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if value})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


CHECKS: tuple[tuple[str, Check], ...] = (
    ("settings", _settings),
    ("code location", _location),
    ("AWS credentials", _credentials),
    ("archive", _archive),
    ("region", _region),
    ("workspace", _workspace),
    ("forgotten people", _forgotten),
    ("pause", _pause),
    ("PostHog host", _host),
    ("project API key", _key),
    ("project", _project),
    ("target", _target),
)
