"""One odd object through the real transform, and everything that must hold of what came out.

object --PUT--> archive --transform_object--> batches, dead letters, sample, result
                                                 └── read back, posted to the stand-in's capture, counted
"""

import datetime as dt
import json
import uuid
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from snowplow_posthog_dagster.errors import BrokenObjectError
from snowplow_posthog_dagster.loading.sources import source_for
from snowplow_posthog_dagster.loading.transform import TransformJob, TransformOptions, transform_object
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.mapping.size import MAX_EVENT_BYTES
from snowplow_posthog_dagster.posthog.batches import events_of, run_of
from snowplow_posthog_dagster.posthog.bodies import body, is_historical
from snowplow_posthog_dagster.sandbox.capture import Request, capture
from snowplow_posthog_dagster.snowplow.bad_rows import record_bytes
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry, ArchiveObject, object_id
from snowplow_posthog_dagster.storage.dead_letters import TRANSFORM, read_dead_letters
from snowplow_posthog_dagster.storage.entries import Done
from snowplow_posthog_dagster.storage.s3 import Bucket
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.fuzz.mutations import Made, made_object

DAY = dt.date(2022, 6, 6)
# Later than every time that the mapping lets by, so that no event lies in PostHog's future.
NOW_SECONDS = 4_102_444_800
TOKEN = "phc_fuzz"
_CLEAN_EVERY = 500
SECRET = b"a secret of the fuzz test"
_RULES = {
    "gitlab_standard": {"carry": "flatten", "groups": {"namespace": "namespace_id"}},
    "gitlab_experiment": {"carry": "drop", "features": {"experiment": "variant"}},
}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"privacy": {"preset": "strict"}, "geo": "none"},
    {"entities": {"rules": _RULES}, "geo": "posthog",
     "identity": {"duplicates": "keep_all", "person_profiles": "always"}},
    {"privacy": {"drop": ["event_id", "event_name"], "truncate": {"user_ipaddress": "ip", "page_title": 3}},
     "properties": {"drop": ["useragent", "$device_type"], "parse_user_agent": False},
     "identity": {"person_properties": {"set": {"plan": "gitlab_standard.plan"}, "force_history": True}},
     "events": {"struct": "{se_category} {se_action}", "self_describing": {"web_page": "page {id}"}}},
    {"events": {"page_ping": "drop"},
     "filters": [{"name": "noise", "drop": {"platform": ["web"], "app_id": ["website"]}}]},
]  # fmt: skip


class DefectError(AssertionError):
    """Something that must hold for every object does not."""


@dataclass
class Fuzzer:
    """Puts objects into one archive and looks at what a transform under one of the settings makes of them."""

    archive: Bucket
    workspace: Workspace
    lines: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._mappers = [Mapper(MappingSettings.model_validate(each), privacy_secret=SECRET) for each in SETTINGS]

    def try_seed(self, seed: int) -> None:
        """The object of a seed. Raises DefectError, or whatever the transform should not have raised."""
        random = Random(seed)
        made = made_object(random, self.lines)
        mapper = random.choice(self._mappers)
        options = TransformOptions(
            codec=random.choice(("isal", "zlib")),
            level=random.choice((0, 1, 3)),
            repeat_window=random.choice((0, 2, 20_000)),
            strict_dead_letters=random.random() < 0.2,
        )
        max_record_bytes = random.choice((1 << 24, 1 << 24, 1 << 24, 30_000, 2_000))
        if self.seen["objects"] % _CLEAN_EVERY == _CLEAN_EVERY - 1:
            self._clean()
        found = self._put(f"{seed}.gz", made.stored)
        self.seen["objects"] += 1
        if found is not None:
            self._judge(found, made, mapper, options, max_record_bytes)

    def _put(self, name: str, stored: bytes) -> ArchiveObject | None:
        """Store the object; None when it is empty, because such a one is not listed."""
        key = f"output/2022/06/06/04/{name}"
        if not stored:
            return None
        self.archive.put(key, stored)
        listed = next(self.archive.listing(key))
        self.seen["bytes"] += listed.size
        return ArchiveObject(
            object_id(self.archive.name, key, listed.etag), self.archive.name, key, listed.etag, listed.size,
            listed.modified, listed.storage_class, 4,
        )  # fmt: skip

    def _judge(
        self, found: ArchiveObject, made: Made, mapper: Mapper, options: TransformOptions, max_record_bytes: int
    ) -> None:
        archive = Archive(self.archive, [ArchiveEntry("output/")])
        versions = (mapper.identity_version, mapper.mapping_version)
        job = TransformJob(archive, self.workspace, DAY, versions, options, "fuzz")
        source = source_for("snowplow", mapper, found.object_id, f"{DAY}", max_record_bytes)
        try:
            done = transform_object(found, source, job)
        except BrokenObjectError:
            must(made.raw is None, "an object was called broken that can be read")
            self.seen["broken objects"] += 1
            return
        must(made.raw is not None, "an object was read that is broken")
        self._check_counts(done, made.raw or b"")
        self._check_events(done)
        self._check_dead_letters(done, made.raw or b"", strict=options.strict_dead_letters)

    def _check_counts(self, done: Done, raw: bytes) -> None:
        """Every record is in one place, and the records are those that plain counting finds."""
        kept = done.mapped + done.dead_letters + sum(done.filtered.values()) + done.repeats
        must(done.records == kept, f"{done.records} records are {kept}: {done}")
        lines = raw.split(b"\n")
        physical = len(lines) - (not lines[-1])
        filled = sum(line not in {b"", b"\r"} for line in lines)
        must(done.lines == physical, f"{done.lines} lines, counted {physical}")
        must(done.records >= filled if done.glued else done.records == filled, f"{done.records} records of {filled}")
        must(done.mapped == sum(note.events for note in done.batches), "batches hold other than what was mapped")
        for name in ("records", "mapped", "dead_letters", "repeats", "glued"):
            self.seen[name.replace("_", " ")] += getattr(done, name)
        self.seen["filtered"] += sum(done.filtered.values())

    def _check_events(self, done: Done) -> None:
        for note in done.batches:
            key = self.workspace.batch_key(DAY, done.object, note.id)
            run = run_of(self.workspace.bucket.get(key), name=key)
            events = events_of(run)
            must(len(events) == note.events, "a batch holds another number of events than it says")
            sent = [check_event(event) for event in events]
            historical = is_historical(note.last, NOW_SECONDS * 1000)
            data = body([run], api_key=TOKEN, historical=historical)
            answer = capture(Request("/batch", data, NOW_SECONDS * 1_000_000, "127.0.0.1"))
            must(answer.status == 200, f"PostHog answers {answer.status}: {answer.text}")
            must(len(answer.events) == len(sent), "PostHog takes another number of events")
            for ours, theirs in zip(sent, answer.events, strict=True):
                must(theirs.violations == (), f"{theirs.violations}: {ours}")
                must((ours["uuid"], ours["event"]) == (theirs.uuid, theirs.event), f"PostHog changes {ours}")
                must(ours["distinct_id"] == theirs.distinct_id, f"PostHog changes {ours['distinct_id']!r}")

    def _check_dead_letters(self, done: Done, raw: bytes, *, strict: bool) -> None:
        if not done.dead_letter_file:
            must(done.dead_letters == 0, "dead letters without a file")
            return
        letters = list(read_dead_letters(self.workspace, DAY, TRANSFORM, done.dead_letter_file))
        must(len(letters) == done.dead_letters, "another number of dead letters than counted")
        must(len({letter["place"]["ordinal"] for letter in letters}) == len(letters), "one place, two dead letters")
        for letter in letters:
            must(bool(letter["reason"]), "a dead letter without a reason")
            kept = record_bytes(letter)
            must(kept is None or not strict, "strict privacy keeps no record")
            start = letter["place"]["offset"]
            must(
                kept is None or raw[start : start + len(kept)] == kept, "a dead letter holds other bytes than its place"
            )

    def _clean(self) -> None:
        """Delete what the objects so far have left."""
        for bucket in (self.archive, self.workspace.bucket):
            bucket.delete([listed.key for listed in bucket.listing("")])


def must(holds: bool, words: str) -> None:
    """Raise DefectError with these words unless it holds."""
    if not holds:
        raise DefectError(words[:3000])


def check_event(event: bytes) -> dict[str, Any]:
    """The event as two strict readers of JSON understand it, with what must hold of it by itself."""
    must(b"\n" not in event and len(event) <= MAX_EVENT_BYTES, f"{len(event)} bytes, or a newline inside")
    strictly = json.loads(event, parse_constant=_refused, object_pairs_hook=_without_twins)
    found: dict[str, Any] = orjson.loads(event)
    must(list(found) == ["uuid", "event", "distinct_id", "timestamp", "properties"], f"fields {list(found)}")
    must(list(strictly["properties"]) == list(found["properties"]), "two readers, two events")
    must(found["uuid"] == str(uuid.UUID(found["uuid"])), f"uuid {found['uuid']}")
    must(0 < len(found["event"].encode()) <= 200 and bool(found["distinct_id"].strip()), "no name or no distinct_id")
    must(b"\\u0000" not in event.replace(b"\\\\", b""), "NUL, which ClickHouse does not store")
    empty = [name for name, value in found["properties"].items() if value is None or value in ("", [], {})]
    must(empty == [], f"empty properties {empty}")
    return found


def _refused(name: str) -> Any:
    raise DefectError(f"{name} is no JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One object. The properties are put together of several: a name that two of them have is read in two ways."""
    found = dict(pairs)
    if "snowplow_mapping_version" in found:
        must(len(found) == len(pairs), f"a property stands there twice: {sorted(name for name, _ in pairs)}")
    return found
