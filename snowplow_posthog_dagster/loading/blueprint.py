"""What a process needs to transform archive objects: plain values that fit through a pipe.

A pool worker is another process. It gets one `Blueprint` as JSON on its standard input (secrets travel
there too, never on a command line) and builds its own clients from it.
"""

import datetime as dt
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from snowplow_posthog_dagster.errors import (
    BrokenObjectError,
    InterruptedRunError,
    ObjectError,
    RefusedObjectError,
    SettingsError,
    SnowplowPostHogError,
    StorageUnavailableError,
    UnreadObjectError,
)
from snowplow_posthog_dagster.loading.sources import SnowplowSource, Source, source_for
from snowplow_posthog_dagster.loading.transform import TransformJob, TransformOptions, failure_entry, transform_object
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveObject
from snowplow_posthog_dagster.storage.dead_letters import TRANSFORM, dead_letter_key
from snowplow_posthog_dagster.storage.entries import Broken, Done, Gone, Superseded
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.samples import sample_key
from snowplow_posthog_dagster.storage.suppressed import Suppressed
from snowplow_posthog_dagster.storage.workspace import Workspace

_log = logging.getLogger(__name__)

_READS = 3
_PAUSE_SECONDS = 0.5
_UNREAD_IN_A_ROW = 3


@dataclass(frozen=True)
class Blueprint:
    """Settings of one run's transform, as plain values."""

    connection: Connection
    archive_bucket: str
    workspace_bucket: str
    workspace_prefix: str
    target: str
    day: dt.date
    put_options: dict[str, str]
    mapping: str
    options: TransformOptions
    max_record_bytes: int
    writer: str
    privacy_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Task:
    """One archive object to transform, with the revision to write and the attempts that failed before."""

    found: ArchiveObject
    revision: int
    attempts: int


@dataclass(frozen=True)
class _Mapping:
    """A mapper, and the suppression list (HMACs) that it was made with."""

    forgotten: frozenset[str]
    mapper: Mapper


class Workshop:
    """The clients and the mapper of one process, made from a blueprint; `run` does one task."""

    def __init__(self, blueprint: Blueprint) -> None:
        client = connect(blueprint.connection)
        self._blueprint = blueprint
        self._unread_in_a_row = 0
        workspace_bucket = Bucket(client, blueprint.workspace_bucket, blueprint.put_options)
        workspace = Workspace(workspace_bucket, blueprint.workspace_prefix, blueprint.target)
        secret = blueprint.privacy_secret
        self._secret = secret.encode() if secret else None
        self._suppressed = Suppressed(workspace, self._secret)
        # One value, since the threads of a worker share it: a list beside the mapper of an older one would be trusted.
        self._mapping = self._mapping_for(self._suppressed.hmacs())
        mapper = self._mapping.mapper
        self._job = TransformJob(
            archive=Archive(Bucket(client, blueprint.archive_bucket), ()),
            workspace=workspace,
            day=blueprint.day,
            versions=(mapper.identity_version, mapper.mapping_version),
            options=blueprint.options,
            writer=blueprint.writer,
        )

    def _mapping_for(self, forgotten: frozenset[str]) -> _Mapping:
        settings = MappingSettings.model_validate_json(self._blueprint.mapping)
        return _Mapping(forgotten, Mapper(settings, privacy_secret=self._secret, forgotten=forgotten))

    def _mapping_of_now(self) -> _Mapping:
        """The mapper, made anew when somebody was forgotten since it was made."""
        forgotten, known = self._suppressed.hmacs(), self._mapping
        if forgotten != known.forgotten:
            known = self._mapping = self._mapping_for(forgotten)
        return known

    def run(self, task: Task, stop: threading.Event | None = None) -> Done | Broken | Superseded | Gone:
        """Transform one object. Only errors that concern more than this object are raised.

        An error that nobody foresaw breaks the object, with its name in the log, and not the day. Raises
        InterruptedRunError within a chunk when `stop` is set, StorageUnavailableError when object after object
        cannot be read: then it is S3 that is at fault, and SettingsError when S3 refuses object after object.
        """
        plan = self._blueprint
        found = task.found
        try:
            done = self._transformed(task, stop)
        except (UnreadObjectError, RefusedObjectError) as error:
            failure: ObjectError = self._unread(error)
        except ObjectError as error:
            failure = error
        except SnowplowPostHogError:
            raise
        except Exception as error:  # noqa: BLE001 - one object is at fault, and says so in the log
            _log.exception("the transform of s3://%s/%s failed unexpectedly", found.bucket, found.key)
            failure = BrokenObjectError(f"unexpected {type(error).__name__}: {error}; the run's log has the traceback")
        else:
            self._unread_in_a_row = 0
            return done
        return failure_entry(found, failure, revision=task.revision, attempts=task.attempts, writer=plan.writer)

    def _unread(self, error: UnreadObjectError | RefusedObjectError) -> BrokenObjectError:
        """What breaks an object that cannot be read. Raises when so many in a row cannot: then none is at fault."""
        self._unread_in_a_row += 1
        if self._unread_in_a_row >= _UNREAD_IN_A_ROW:
            kind = SettingsError if isinstance(error, RefusedObjectError) else StorageUnavailableError
            raise kind(f"{error}; so it was with the {_UNREAD_IN_A_ROW - 1} before") from error
        return error if isinstance(error, RefusedObjectError) else BrokenObjectError(f"{error} ({_READS} tries)")

    def _transformed(self, task: Task, stop: threading.Event | None) -> Done:
        """Transform, from the first byte again when the transfer is cut: the same batches go under the same keys."""
        for attempt in range(1, _READS):
            try:
                return self._transformed_once(task, stop)
            except UnreadObjectError as error:
                _log.warning("%s; reading it again", error)
                time.sleep(attempt * _PAUSE_SECONDS)
        return self._transformed_once(task, stop)

    def _transformed_once(self, task: Task, stop: threading.Event | None) -> Done:
        """Transform, and again when somebody was forgotten meanwhile.

        `forget` visits the days of which anything is stored: what it does not see here was stored after the list was
        written, and is then looked at once more before it counts.
        """
        mapping = self._mapping_of_now()
        done = self._mapped(task, mapping.mapper, stop)
        while (now := self._mapping_of_now()).forgotten != mapping.forgotten:
            mapping, stale = now, done
            done = self._mapped(task, mapping.mapper, stop)
            self._job.workspace.bucket.delete(sorted(self._files_of(stale) - self._files_of(done)))
        return done

    def _files_of(self, done: Done) -> set[str]:
        """The keys of what a result has stored."""
        workspace, day = self._job.workspace, self._blueprint.day
        found = {workspace.batch_key(day, done.object, note.id) for note in done.batches}
        found |= {sample_key(workspace, day, done.object, note.id) for note in done.batches[:1]}
        if done.dead_letter_file:
            found.add(dead_letter_key(workspace, day, TRANSFORM, done.dead_letter_file))
        return found

    def _mapped(self, task: Task, mapper: Mapper, stop: threading.Event | None) -> Done:
        plan, found = self._blueprint, task.found
        source = source_for(found.source, mapper, found.object_id, f"{plan.day:%Y-%m-%d}", plan.max_record_bytes)
        if stop is not None:
            source = _stoppable(source, stop)
        return transform_object(found, source, self._job, revision=task.revision)


def _stoppable(source: Source, stop: threading.Event) -> Source:
    """The same source, which ends between two chunks of an object when `stop` is set."""

    def until_stopped(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if stop.is_set():
                raise InterruptedRunError("the transform was asked to stop; what was finished is in the day log")
            yield chunk

    return SnowplowSource(
        source.lines, lambda chunks: source.records(until_stopped(chunks)), source.event, source.origin
    )


blueprint_codec = (msgspec.json.Encoder(), msgspec.json.Decoder(Blueprint))
handful_codec = (msgspec.json.Encoder(), msgspec.json.Decoder(list[Task]))
