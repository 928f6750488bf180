"""Which listed objects of a day no log entry speaks of yet: named in a manifest, and not transformed.

A run writes its manifest first, so after one that was killed or narrowed the day log alone would call a day done of
which half was never read.
"""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import msgspec

from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.workspace import Workspace

_READERS = 12


class _Line(msgspec.Struct):
    object: str


_lines = msgspec.json.Decoder(_Line)


def untouched(workspace: Workspace, day: dt.date, state: DayState) -> frozenset[str]:
    """The object-ids that manifests of the day name and the log does not.

    A day that was complete after its last manifest has none, and costs two LISTs. Raises what reading the workspace
    raises.
    """
    manifests = list(workspace.bucket.listing(workspace.folder("manifests", day)))
    endings = workspace.bucket.listing(workspace.folder("days", day))
    ended = max((listed.modified for listed in endings), default=0.0)
    # S3 keeps whole seconds: a manifest of the very second of the ending is read.
    if all(listed.modified < ended for listed in manifests):
        return frozenset()
    with ThreadPoolExecutor(_READERS) as pool:
        texts = pool.map(workspace.read_lines, [listed.key for listed in manifests])
        named = {_lines.decode(line).object for lines in texts for line in lines}
    return frozenset(named - state.objects.keys())
