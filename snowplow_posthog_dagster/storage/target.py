"""Which PostHog project a target's name stands for, and whether deliveries to it are paused.

PostHog never takes anything back, so nothing may reach a project that was not named. The first delivery
records the normalised host, the project id and a fingerprint of the project API key in the target's control
folder; another host or key is refused until an operator accepts it: a rotated key must not re-send history.
"""

import datetime as dt
import hashlib
import urllib.parse
from dataclasses import dataclass

from snowplow_posthog_dagster.errors import PausedError, SettingsError, TargetError
from snowplow_posthog_dagster.storage.s3 import Bucket
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text


@dataclass(frozen=True, slots=True, order=True)
class TargetIdentity:
    """What identifies a PostHog project; the key itself is never stored."""

    host: str
    project_id: str
    key_fingerprint: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliveries are paused; `until` is a UTC time as text, or empty for 'until resumed'."""

    reason: str
    until: str
    by: str


def normalised_host(host: str) -> str:
    """The host as scheme://name[:port][/path], lower case, without trailing slash. Raises SettingsError."""
    if "@" in host:
        raise SettingsError("POSTHOG_HOST must not hold a user name or password")
    try:
        parts = urllib.parse.urlsplit(host if "://" in host else f"https://{host}")
        number = parts.port
    except ValueError as error:
        raise SettingsError(f"POSTHOG_HOST {host!r} is no URL: {error}") from None
    unfit = parts.scheme not in {"http", "https"} or parts.query or parts.fragment
    if unfit or not parts.hostname or any(character.isspace() for character in host):
        raise SettingsError(f"POSTHOG_HOST {host!r} must be a URL such as https://eu.i.posthog.com")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{number}" if number and number != {"http": 80, "https": 443}[parts.scheme] else ""
    return f"{parts.scheme}://{name}{port}{parts.path.rstrip('/')}"


def key_fingerprint(api_key: str) -> str:
    """A digest of the project API key that cannot be turned back."""
    return hashlib.sha256(b"snowplow-posthog-dagster key\0" + api_key.encode()).hexdigest()[:16]


def check_target(workspace: Workspace, identity: TargetIdentity) -> None:
    """Record the identity at first use; afterwards refuse another one.

    Raises TargetError when host, project or key differ from what was recorded or accepted, and when two
    first runs recorded different ones.
    """
    known = [entry for entry in workspace.control_entries() if entry["kind"] in {"identity", "accept-key"}]
    if not known:
        workspace.append_control(_entry("identity", identity))
        known = [entry for entry in workspace.control_entries() if entry["kind"] in {"identity", "accept-key"}]
    accepted = [entry for entry in known if entry["kind"] == "accept-key"]
    firsts = sorted({_of(entry) for entry in known if entry["kind"] == "identity"})
    if not accepted and not all(same_project(firsts[0], first) for first in firsts):
        raise TargetError(
            f"target {workspace.target!r} was first used for two projects at once ({_words(firsts)});"
            " run `snowplow-posthog target accept-key` with the right settings to choose one"
        )
    current = _of(accepted[-1]) if accepted else firsts[0]
    if not same_project(current, identity):
        raise TargetError(
            f"target {workspace.target!r} stands for project {current.project_id or '?'} on {current.host}"
            f" (key {current.key_fingerprint}), but the settings say project {identity.project_id or '?'} on"
            f" {identity.host} (key {identity.key_fingerprint}); if that is meant, run"
            " `snowplow-posthog target accept-key`, or give the other project another POSTHOG_TARGET"
        )


def same_project(one: TargetIdentity, other: TargetIdentity) -> bool:
    """Whether host, key and project agree; a project id that somebody left out agrees with any."""
    ids = {one.project_id, other.project_id} - {""}
    return (one.host, one.key_fingerprint) == (other.host, other.key_fingerprint) and len(ids) <= 1


def accept_identity(workspace: Workspace, identity: TargetIdentity, *, by: str) -> None:
    """Let the target's name stand for this host, project and key from now on."""
    workspace.append_control({**_entry("accept-key", identity), "by": by})


def pause(workspace: Workspace, *, reason: str, until: str, by: str) -> None:
    """Stop deliveries to the target after the body in hand; `until` is a time with its zone, or empty.

    Raises SettingsError when `until` is no time, has no zone, or has passed.
    """
    if until:
        until = _moment(until)
    workspace.append_control({"kind": "pause", "reason": reason, "until": until, "by": by, "at": timestamp_text()})


def resume(workspace: Workspace, *, by: str) -> None:
    """Let deliveries go on."""
    workspace.append_control({"kind": "resume", "by": by, "at": timestamp_text()})


def current_pause(workspace: Workspace, now: dt.datetime | None = None) -> Pause | None:
    """The pause in force, if any."""
    found = [entry for entry in workspace.control_entries() if entry["kind"] in {"pause", "resume"}]
    if not found or found[-1]["kind"] == "resume":
        return None
    last = found[-1]
    if last["until"] and last["until"] <= timestamp_text(now):
        return None
    return Pause(reason=last["reason"], until=last["until"], by=last["by"])


def refuse_when_paused(workspace: Workspace) -> None:
    """Raise PausedError, with who paused the target and why, while deliveries to it are paused."""
    found = current_pause(workspace)
    if found:
        until = f" until {found.until}" if found.until else ""
        raise PausedError(
            f"deliveries to target {workspace.target!r} are paused{until} by {found.by}: {found.reason};"
            " `snowplow-posthog resume` lets them go on"
        )


def _moment(text: str) -> str:
    """A time that lies ahead, as UTC text."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--until {text!r} is no time; expected such as 2022-06-07T06:00:00Z") from None
    if moment.tzinfo is None:
        raise SettingsError(f"--until {text!r} has no zone; write {moment.isoformat()}Z for UTC")
    if moment <= dt.datetime.now(dt.UTC):
        raise SettingsError(f"--until {text!r} has passed")
    return timestamp_text(moment.astimezone(dt.UTC))


def targets_in(bucket: Bucket, prefix: str) -> list[str]:
    """The names of all targets of a workspace, by one short listing for each."""
    start, after = f"{prefix}target=", ""
    names: list[str] = []
    while True:
        listed = next(bucket.listing(start, start_after=after), None)
        if listed is None:
            return sorted(names)
        name = listed.key[len(start) :].partition("/")[0]
        names.append(name)
        # "0" is the character after "/": everything of this target lies before it.
        after = f"{start}{name}0"


def _entry(kind: str, identity: TargetIdentity) -> dict[str, str]:
    return {
        "kind": kind,
        "host": identity.host,
        "project_id": identity.project_id,
        "key_fingerprint": identity.key_fingerprint,
        "at": timestamp_text(),
    }


def _of(entry: dict[str, str]) -> TargetIdentity:
    return TargetIdentity(entry["host"], entry["project_id"], entry["key_fingerprint"])


def _words(identities: list[TargetIdentity]) -> str:
    return "; ".join(f"project {one.project_id or '?'} on {one.host}, key {one.key_fingerprint}" for one in identities)
