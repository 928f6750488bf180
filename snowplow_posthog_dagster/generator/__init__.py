r"""Realistic enriched events in any amount: for the demo, the benchmarks, the fault tests and the scale test.

    settings --World--> users, pages, browsers --Hour--> records --pack--> objects in a folder or in S3
                                                              \--count--> the truth: what must arrive

Seeded: the same settings give the same records. It knows nothing of the mapping; what a load makes of its objects is
compared with the truth, which is counted where the records are made.
"""

from snowplow_posthog_dagster.generator.generate import generate
from snowplow_posthog_dagster.generator.objects import FolderSink, S3Sink, Sink
from snowplow_posthog_dagster.generator.settings import GeneratorSettings, Mix, Naming, Profile
from snowplow_posthog_dagster.generator.truth import Comparison, ObjectTruth, Truth, compare, read_truth, read_uuids

__all__ = [
    "Comparison",
    "FolderSink",
    "GeneratorSettings",
    "Mix",
    "Naming",
    "ObjectTruth",
    "Profile",
    "S3Sink",
    "Sink",
    "Truth",
    "compare",
    "generate",
    "read_truth",
    "read_uuids",
]
