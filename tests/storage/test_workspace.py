"""What lies in the workspace is read whole, or said to be damaged."""

import gzip

import pytest

from snowplow_posthog_dagster.errors import WorkspaceError
from snowplow_posthog_dagster.storage.suppressed import Suppressed, suppress
from tests.ground import Ground, lines_of

SECRET = b"a secret of the tests"
WHOLE = gzip.compress(b'{"one": 1}\n', mtime=0)


@pytest.mark.parametrize(
    "damaged",
    [b"", WHOLE[:5], WHOLE[:-4], b"no gzip", WHOLE[:12] + b"\xff" * 8 + WHOLE[20:]],
    ids=["emptied", "cut in the head", "cut at the end", "other bytes", "changed"],
)
def test_a_damaged_segment_of_the_log_is_named_with_the_cure(ground: Ground, damaged: bytes) -> None:
    ground.put("a", lines_of(2))
    ground.run()
    key = ground.stored("log")[-1]
    ground.workspace.bucket.put(key, damaged)
    with pytest.raises(WorkspaceError, match=r"is damaged .* restore the object") as raised:
        ground.state()
    assert key in str(raised.value)


def test_a_suppression_list_that_was_emptied_lets_nobody_through(ground: Ground) -> None:
    key = suppress(ground.workspace, ["ann"], secret=SECRET, by="me")
    ground.workspace.bucket.put(key, b"")
    with pytest.raises(WorkspaceError, match="is damaged"):
        Suppressed(ground.workspace, SECRET).hmacs()
