"""The suppression list: HMACs of the ids of forgotten people. Append-only, and it never holds an id.

    suppressed/<time>-<digest>.jsonl.gz      {"hmac": "...", "secret": "..."} a line, the secret as a fingerprint

The HMACs are keyed by SNOWPLOW_POSTHOG_PRIVACY_SECRET; under another secret they would match nobody, in silence, so
a list that was made with another one is refused.

Every mapping of the target applies it (the filter `forgotten`), and it is read again before and after every archive
object: a run that is under way when somebody is forgotten does the object in hand again without them.
"""

import gzip
import json
from collections.abc import Iterable

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping.privacy import digest as hmac_of
from snowplow_posthog_dagster.storage.workspace import Workspace, digest, timestamp_name, timestamp_text

_FINGERPRINT_LENGTH = 16


class Suppressed:
    """Reads the list under a secret; a file is read once, and a look for new ones costs one LIST."""

    def __init__(self, workspace: Workspace, secret: bytes | None) -> None:
        self._workspace = workspace
        self._fingerprint = fingerprint(secret)
        self._files: dict[str, frozenset[str]] = {}

    def hmacs(self) -> frozenset[str]:
        """The digests of all forgotten ids, as of now.

        Raises SettingsError when the list was made with another secret than this one, or there is none now.
        """
        for listed in self._workspace.bucket.listing(self._workspace.folder("suppressed")):
            if listed.key not in self._files:
                self._files[listed.key] = frozenset(self._read(listed.key))
        return frozenset().union(*self._files.values())

    def _read(self, key: str) -> Iterable[str]:
        for line in map(json.loads, self._workspace.read_lines(key)):
            if line["secret"] != self._fingerprint:
                raise SettingsError(
                    f"people were forgotten under another SNOWPLOW_POSTHOG_PRIVACY_SECRET ({line['secret']}, now"
                    f" {self._fingerprint or 'not set'}) and would be sent again: set that one, or run"
                    " `snowplow-posthog forget` again under the new one and remove the old file"
                    f" s3://{self._workspace.bucket.name}/{key}"
                )
            yield str(line["hmac"])


def fingerprint(secret: bytes | None) -> str:
    """Says whether two secrets are one, and nothing else; empty without a secret."""
    return hmac_of(secret, "fingerprint of the suppression list")[:_FINGERPRINT_LENGTH] if secret else ""


def suppress(workspace: Workspace, ids: Iterable[str], *, secret: bytes, by: str) -> str:
    """Add ids to the list, as digests; returns the key of the new file."""
    at, mark = timestamp_text(), fingerprint(secret)
    hmacs = sorted({hmac_of(secret, identifier) for identifier in ids})
    lines = [json.dumps({"hmac": hmac, "secret": mark, "at": at, "by": by}).encode() + b"\n" for hmac in hmacs]
    data = b"".join(lines)
    key = workspace.key("suppressed", None, f"{timestamp_name()}-{digest(data)[:16]}.jsonl.gz")
    workspace.bucket.put(key, gzip.compress(data, compresslevel=6, mtime=0))
    return key
