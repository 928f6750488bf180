"""Whatever botocore raises becomes one of the project's errors, and says whether trying again helps."""

import datetime as dt

import pytest
from botocore.credentials import RefreshableCredentials

from snowplow_posthog_dagster.errors import StorageUnavailableError
from snowplow_posthog_dagster.storage.s3 import Bucket
from tests.ground import Ground


def expired(ground: Ground) -> Bucket:
    """A bucket whose credentials are renewed into expired ones, as by a metadata service that hangs behind."""
    past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    renewed = {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": past.isoformat()}
    bucket = ground.workspace.bucket
    bucket.client._request_signer._credentials = RefreshableCredentials("a", "b", "c", past, lambda: renewed, "test")
    return bucket


def test_credentials_that_are_expired_when_just_renewed_may_be_right_the_next_time(ground: Ground) -> None:
    bucket = expired(ground)
    with pytest.raises(StorageUnavailableError, match=r"cannot write .*still expired"):
        bucket.put("key", b"data")
    with pytest.raises(StorageUnavailableError, match=r"cannot list .*still expired"):
        list(bucket.listing("prefix/"))
