"""Archive objects that S3 refuses to the loader's credentials: broken alone, while their neighbours go on."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading import blueprint
from snowplow_posthog_dagster.storage.s3 import Connection, connect
from tests.ground import Ground, lines_of

Refuse = Callable[..., None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Lets S3 answer for some keys as it does for an object of another account."""

    def refusing(*keys: str, code: str = "AccessDenied") -> None:
        def refusing_client(connection: Connection) -> Any:
            client = connect(connection)
            get = client.get_object

            def get_object(**asked: Any) -> Any:
                if asked["Key"] in keys:
                    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 403}}
                    raise ClientError(answer, "GetObject")
                return get(**asked)

            client.get_object = get_object
            return client

        monkeypatch.setattr(blueprint, "connect", refusing_client)

    return refusing


@pytest.mark.parametrize("code", ["AccessDenied", "KMS.DisabledException"])
def test_an_object_that_is_refused_is_broken_alone(ground: Ground, refuse: Refuse, code: str) -> None:
    keys = [ground.put(f"part-{number}", lines_of(10 + number), hour=number) for number in range(4)]
    refuse(keys[3], code=code)
    report = ground.run()
    assert (ground.counts().objects_done, ground.counts().objects_broken, len(ground.events())) == (3, 1, 33)
    (broken,) = report.broken
    assert broken.startswith(f"{keys[3]}: cannot read ") and code in broken


def test_a_right_that_is_missing_ends_the_run_with_the_cure(ground: Ground, refuse: Refuse) -> None:
    keys = [ground.put(f"part-{number}", lines_of(10), hour=number) for number in range(4)]
    refuse(*keys)
    with pytest.raises(SettingsError, match=r"AccessDenied; grant the credentials .* so it was with the 2 before"):
        ground.transform()
