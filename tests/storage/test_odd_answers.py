"""What lies between us and S3 may change answers: that is not taken for an archive without files or with others."""

from collections.abc import Callable
from typing import Any

import pytest

from snowplow_posthog_dagster.errors import BrokenObjectError, StorageUnavailableError, UnreadObjectError
from snowplow_posthog_dagster.storage.archive import Archive
from tests.ground import DAY, Ground, lines_of


def changed(ground: Ground, operation: str, change: Callable[[dict[str, Any]], None]) -> None:
    """From now on `change` is made to each answer of this operation before it is understood."""

    def before_parse(response_dict: dict[str, Any], **_: Any) -> None:
        if response_dict["status_code"] == 200:
            change(response_dict)

    ground.s3.meta.events.register_first(f"before-parse.s3.{operation}", before_parse)


def archive(ground: Ground) -> Archive:
    return ground.load().archive


def test_an_etag_that_a_proxy_made_weak_is_the_same(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    (found,) = archive(ground).list_day(DAY)
    changed(ground, "GetObject", lambda answer: answer["headers"].update(ETag=f'W/"{found.etag}"'))
    assert b"".join(archive(ground).read(found)).count(b"\n") == 2


def test_an_answer_without_an_etag_breaks_its_object_in_words(ground: Ground) -> None:
    ground.put("a", lines_of(2))
    (found,) = archive(ground).list_day(DAY)
    changed(ground, "GetObject", lambda answer: answer["headers"].pop("ETag"))
    with pytest.raises(BrokenObjectError, match="without an ETag"):
        archive(ground).read(found)


@pytest.mark.parametrize("body", [b"", b"<Error><Code>Busy</Code></Error>"])
def test_an_answer_that_is_no_listing_is_not_an_archive_without_files(ground: Ground, body: bytes) -> None:
    ground.put("a", lines_of(2))
    changed(ground, "ListObjectsV2", lambda answer: answer.update(body=body))
    with pytest.raises(StorageUnavailableError, match="the answer is no listing"):
        archive(ground).list_day(DAY)


def test_fewer_bytes_than_were_listed_are_a_transfer_that_was_cut(ground: Ground) -> None:
    key = "output/2022/06/06/04/plain.tsv"
    first, second = (line + b"\n" for line in lines_of(2))
    ground.s3.put_object(Bucket=ground.buckets[0], Key=key, Body=first + second)
    (found,) = archive(ground).list_day(DAY)
    place = archive(ground)
    place.bucket = _Short(first)  # type: ignore[assignment]
    with pytest.raises(UnreadObjectError, match=f"{len(first):,} of {found.size:,} bytes came"):
        list(place.read(found))


class _Short:
    """A bucket of which a proxy has kept the beginning of everything, and calls it whole."""

    def __init__(self, kept: bytes) -> None:
        self._kept = kept

    def stream(self, key: str, *, etag: str, chunk_bytes: int) -> tuple[str, Any]:
        return etag, iter([self._kept])
