"""Where objects go and what they are called: the layouts of Amazon's Firehose and of Snowplow's S3 Loader."""

import datetime as dt
import re
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

from snowplow_posthog_dagster.generator.settings import LAYOUT_PARTS, GeneratorSettings, Naming
from snowplow_posthog_dagster.generator.world import uuid_text

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_FIRST_SEQUENCE_NUMBER = 49_629_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000

_LEAST = 10**20


class Sink(Protocol):
    """Something that takes objects."""

    def put(self, key: str, body: bytes) -> None:
        """Store one object; an object of that key is replaced."""
        ...


class FolderSink:
    """Objects as files below a folder, which is what the sandbox's S3 serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, body: bytes) -> None:
        """Write beside and rename, so that a reader never sees half an object."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_bytes(body)
        unfinished.replace(path)


class S3Sink:
    """Objects in a bucket."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self.client, self.bucket = client, bucket

    def put(self, key: str, body: bytes) -> None:
        """Store it with one request."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)


def object_key(settings: GeneratorSettings, arrival: int, number: int) -> str:
    """The key of the number-th object of the run, whose oldest record arrived then (milliseconds since 1970)."""
    time = dt.datetime.fromtimestamp(arrival / 1000, dt.UTC)
    folders = re.sub(r"\{(\w+)\}", lambda part: format(time, LAYOUT_PARTS[part.group(1)]), settings.layout)
    return f"{settings.prefix}{folders}{object_name(settings, time, arrival, number)}"


def object_name(settings: GeneratorSettings, time: dt.datetime, arrival: int, number: int) -> str:
    """The name below the folders, after who writes it."""
    bits = Random(f"object {settings.seed} {arrival} {number}").getrandbits(128)
    match settings.naming:
        case Naming.FIREHOSE:
            return f"SnowPlowEnrichedGood-2-{time:%Y-%m-%d-%H-%M-%S}-{uuid_text(bits)}.gz"
        case Naming.S3_LOADER:
            return f"{time:%Y-%m-%d-%H%M%S}-{uuid_text(bits)}.gz"
        case Naming.S3_LOADER_2:
            # They grow with time, and those of another seed are others: a folder may hold the objects of several runs.
            first = _FIRST_SEQUENCE_NUMBER + arrival * _LEAST + bits % _LEAST
            return f"{time:%Y-%m-%d-%H%M%S}-{first}-{first + number + 1}.gz"
