"""The generator keeps its word: what the parser finds in its objects is what its truth says."""

import datetime as dt
import gzip
import json
import re
import subprocess
import sys
import textwrap
import zlib
from collections import Counter
from uuid import UUID

import pytest
from pydantic import ValidationError

from snowplow_posthog_dagster.generator import (
    FolderSink,
    GeneratorSettings,
    Mix,
    Profile,
    compare,
    generate,
    read_truth,
    read_uuids,
)
from snowplow_posthog_dagster.generator.generate import hours
from snowplow_posthog_dagster.generator.stream import Hour
from snowplow_posthog_dagster.generator.world import World
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.parse import ParsedEvent, parse
from snowplow_posthog_dagster.snowplow.record import Record

START = dt.datetime(2022, 6, 6, 4, tzinfo=dt.UTC)
FAULTY = {"repeats": 0.05, "late": 0.1, "broken": 0.05, "oversized": 0.002}
CLEAN = {"repeats": 0, "late": 0, "broken": 0, "oversized": 0}


class Memory:
    """A sink that keeps what it is given."""

    def __init__(self):
        self.objects = {}

    def put(self, key, body):
        self.objects[key] = body


def made(folder, **settings):
    """Generate into memory: the sink, the truth and the uuids."""
    sink = Memory()
    truth = generate(GeneratorSettings(**{"start": START, "events": 2_000, **settings}), sink, folder)
    return sink, truth, list(read_uuids(folder))


def parsed(body):
    """Every record of an object, parsed or rejected."""
    return [parse(one) if isinstance(one, Record) else one for one in records([gzip.decompress(body)])]


def events(sink):
    return [one.event for body in sink.objects.values() for one in parsed(body) if isinstance(one, ParsedEvent)]


@pytest.mark.parametrize("profile", list(Profile))
def test_the_parser_finds_what_the_truth_counts(tmp_path, profile):
    sink, truth, uuids = made(tmp_path, profile=profile, records_per_object=300, **FAULTY)
    position = 0
    for one in truth.objects:
        body = sink.objects[one.key]
        raw = gzip.decompress(body)
        found = parsed(body)
        ids = [event.event["event_id"] for event in found if isinstance(event, ParsedEvent)]
        big = [identity for identity in ids if identity in set(truth.oversized_uuids)]
        assert len(found) == one.records <= 300
        assert len(found) - len(ids) == one.broken
        assert len(big) == one.oversized
        own = uuids[position : position + one.must_arrive]
        assert list(dict.fromkeys(identity for identity in ids if identity in set(own))) == own
        assert len(ids) - len(own) - len(big) == one.repeats
        assert (len(raw), len(body), zlib.crc32(raw)) == (one.raw_bytes, one.stored_bytes, one.raw_crc32)
        position += one.must_arrive
    assert position == len(uuids) == len(set(uuids)) == truth.sums["must_arrive"]
    assert all(truth.sums[name] > 0 for name in ("late", "broken", "repeats", "oversized"))
    assert truth.sums["must_arrive"] + truth.sums["broken"] + truth.sums["oversized"] == 2_000
    assert sum(truth.kinds.values()) == 2_000
    assert sum(truth.event_names.values()) == truth.sums["must_arrive"]


def test_every_uuid_is_one(tmp_path):
    _, _, uuids = made(tmp_path)
    assert all(str(UUID(identity)) == identity and UUID(identity).version == 4 for identity in uuids)


def test_the_same_settings_give_the_same_bytes_and_another_seed_gives_others(tmp_path):
    first, again, other = (made(tmp_path / name, seed=seed, **FAULTY) for name, seed in (("1", 1), ("2", 1), ("3", 2)))
    assert first[0].objects == again[0].objects
    for name in ("truth.json", "uuids.txt.gz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert not set(first[2]) & set(other[2])


def test_without_faults_exactly_the_asked_number_arrives(tmp_path):
    sink, truth, uuids = made(tmp_path, events=1_234, **CLEAN)
    assert truth.sums["records"] == len(uuids) == len(events(sink)) == 1_234


def test_the_truth_file_is_the_truth(tmp_path):
    _, truth, _ = made(tmp_path, **FAULTY)
    assert read_truth(tmp_path) == truth
    assert json.loads((tmp_path / "truth.json").read_text())["sums"] == truth.sums


def test_the_comparison_tells_equal_from_lost_doubled_and_unexpected(tmp_path):
    _, truth, uuids = made(tmp_path, broken=0.1, oversized=0.01)
    big = truth.oversized_uuids
    assert len(big) > 1
    assert compare(tmp_path, uuids).equal
    assert compare(tmp_path, [*uuids, *big[:1]]).equal
    assert compare(tmp_path, [*uuids, *big[:1]]).oversized == 1
    stranger = "00000000-0000-4000-8000-000000000000"
    found = compare(tmp_path, [*uuids[3:], uuids[7], uuids[7], big[0], big[0], stranger])
    assert not found.equal
    assert (found.lost, found.doubled, found.unexpected, found.expected) == (3, 3, 1, len(uuids))
    assert set(found.examples) == {*uuids[:3], stranger}


def test_a_tag_marks_every_event(tmp_path):
    sink, _, _ = made(tmp_path, events=200, tag="scale-7", app_id="shop", **CLEAN)
    assert {(event["etl_tags"], event["app_id"]) for event in events(sink)} == {("scale-7", "shop")}


@pytest.mark.parametrize(
    ("profile", "size", "columns"), [(Profile.GITLAB, (900, 1300), (35, 50)), (Profile.WIDE, (2900, 3500), (65, 80))]
)
def test_lines_are_as_wide_as_the_profile_says(tmp_path, profile, size, columns):
    sink, truth, _ = made(tmp_path, events=5_000, profile=profile, **CLEAN)
    filled = [
        sum(map(bool, line.split(b"\t")))
        for body in sink.objects.values()
        for line in gzip.decompress(body).splitlines()
    ]
    assert size[0] < truth.sums["raw_bytes"] / truth.sums["records"] < size[1]
    assert columns[0] < sum(filled) / len(filled) < columns[1]


def test_wide_web_events_hold_about_five_entities(tmp_path):
    sink, _, _ = made(tmp_path, profile=Profile.WIDE, mix=Mix(web=1), **CLEAN)
    counted = Counter(
        sum(len(entities) for key, entities in event.items() if key.startswith("contexts_")) for event in events(sink)
    )
    assert set(counted) <= {4, 5, 6, 7}
    assert sum(number * share for number, share in counted.items()) / counted.total() < 5.6


@pytest.mark.parametrize("kind", ["web", "shop", "mobile", "server"])
def test_each_kind_of_visit_looks_like_its_platform(tmp_path, kind):
    sink, truth, _ = made(tmp_path, events=1_500, profile=Profile.WIDE, mix=Mix(**{kind: 1}), **CLEAN)
    found = events(sink)
    assert {event["platform"] for event in found} == {{"mobile": "mob", "server": "srv"}.get(kind, "web")}
    assert truth.kinds == {kind: 1_500}
    expected = {
        "web": {"page_view", "page_ping", "event", "link_click", "submit_form"},
        "shop": {"page_view", "snowplow_ecommerce_action", "transaction", "transaction_item"},
        "mobile": {"screen_view", "application_foreground", "application_background", "event"},
        "server": {"event"},
    }
    assert set(truth.event_names) == expected[kind]
    assert {event["event_name"] for event in found} == expected[kind]


def test_sessions_have_several_events_of_one_person(tmp_path):
    sink, _, _ = made(tmp_path, events=5_000, mix=Mix(web=1), **CLEAN)
    people = {}
    for event in events(sink):
        people.setdefault(event["domain_sessionid"], []).append(event["domain_userid"])
    assert 5 < sum(map(len, people.values())) / len(people) < 40
    assert all(len(set(one)) == 1 for one in people.values())


def test_visits_go_on_across_midnight(tmp_path):
    sink, _, _ = made(tmp_path, start=START.replace(hour=23), hours=2, events=10_000, mix=Mix(web=1), **CLEAN)
    days = {}
    for event in events(sink):
        days.setdefault(event["domain_sessionid"], set()).add(event["collector_tstamp"][:10])
    assert sum(len(found) == 2 for found in days.values()) > 10


def test_late_events_happened_hours_before_they_arrived(tmp_path):
    sink, _, _ = made(tmp_path, late=1, repeats=0, broken=0)
    for event in events(sink):
        arrived, happened = (dt.datetime.fromisoformat(event[name]) for name in ("collector_tstamp", "derived_tstamp"))
        assert dt.timedelta(hours=1) <= arrived - happened <= dt.timedelta(hours=73)


def test_derived_time_is_enrichs(tmp_path):
    """Collector time minus the time between creation and sending, whatever the device's clock says."""
    sink, _, _ = made(tmp_path, mix=Mix(web=1, mobile=1), profile=Profile.WIDE, **CLEAN)
    skewed = 0
    for event in events(sink):
        names = ("collector_tstamp", "dvce_sent_tstamp", "dvce_created_tstamp", "derived_tstamp")
        collector, sent, created, derived = (dt.datetime.fromisoformat(event[name]) for name in names)
        assert derived == collector - (sent - created)
        skewed += abs(collector - sent) > dt.timedelta(minutes=30)
    assert skewed > 0


def test_records_arrive_in_order_within_their_hour(tmp_path):
    sink, truth, _ = made(tmp_path, hours=3, events=3_000, records_per_object=250, **CLEAN)
    arrivals = [event["collector_tstamp"] for event in events(sink)]
    assert arrivals == sorted(arrivals)
    for one in truth.objects:
        hour = one.key.split("/")[-2]
        assert {event.event["collector_tstamp"][11:13] for event in parsed(sink.objects[one.key])} == {hour}


def test_the_afternoon_is_busier_than_the_night_and_the_week_than_its_end():
    week = dict(hours(GeneratorSettings(start=dt.datetime(2022, 6, 6), hours=168, events=1_000_000)))  # noqa: DTZ001
    assert sum(week.values()) == 1_000_000
    assert week[START.replace(hour=15)] > 3 * week[START.replace(hour=3)]
    assert week[START.replace(hour=15)] > 1.9 * week[dt.datetime(2022, 6, 11, 15, tzinfo=dt.UTC)]


def test_an_hour_alone_is_the_same_as_among_others():
    settings = GeneratorSettings(start=START, hours=3, events=900)
    alone = list(Hour(World(settings), START + dt.timedelta(hours=1), 300).records())
    world = World(settings)
    list(Hour(world, START, 300).records())
    assert list(Hour(world, START + dt.timedelta(hours=1), 300).records()) == alone


@pytest.mark.parametrize(
    ("name", "column"), [("users", "domain_userid"), ("pages", "page_url"), ("user_agents", "useragent")]
)
def test_variety_is_a_setting(tmp_path, name, column):
    few, many = (
        len(
            {
                event.get(column)
                for event in events(made(tmp_path / str(number), mix=Mix(web=1), **{name: number}, **CLEAN)[0])
            }
        )
        for number in (3, 3_000)
    )
    assert few <= 3 * (16 if name == "pages" else 1)  # a page has one address more per campaign
    assert many > 5 * few


@pytest.mark.parametrize(
    ("layout", "naming", "pattern"),
    [
        ("{yyyy}/{MM}/{dd}/{HH}/", "firehose", r"2022/06/06/04/SnowPlowEnrichedGood-2-2022-06-06-04-[\d-]+-[\da-f-]+"),
        ("{yyyy}-{MM}-{dd}/", "s3_loader", r"2022-06-06/2022-06-06-04\d{4}-[0-9a-f-]{36}"),
        ("", "s3_loader_2", r"2022-06-06-04\d{4}-\d{56}-\d{56}"),
    ],
)  # fmt: skip
def test_layouts(tmp_path, layout, naming, pattern):
    sink, truth, _ = made(tmp_path, layout=layout, naming=naming, events=500, records_per_object=100)
    assert len(sink.objects) == len(truth.objects) >= 5
    assert all(re.fullmatch(rf"output/{pattern}\.gz", key) for key in sink.objects)


def test_a_folder_gets_whole_files(tmp_path):
    settings = GeneratorSettings(start=START, events=300, records_per_object=100)
    truth = generate(settings, FolderSink(tmp_path / "archive"), tmp_path / "truth")
    files = sorted(
        path.relative_to(tmp_path / "archive").as_posix()
        for path in (tmp_path / "archive").rglob("*")
        if path.is_file()
    )
    assert files == sorted(one.key for one in truth.objects)
    assert [(tmp_path / "archive" / one.key).stat().st_size for one in truth.objects] == [
        one.stored_bytes for one in truth.objects
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": dt.datetime(2022, 6, 6, 4, 30, tzinfo=dt.UTC)},
        {"broken": 1.5},
        {"mix": {}},
        {"tag": "a\tb"},
        {"layout": "{year}/"},
        {"unknown": 1},
        {"late": 0.6, "broken": 0.6},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        GeneratorSettings(**{"start": START, **wrong})


@pytest.mark.slow
def test_an_object_of_a_gigabyte_needs_little_memory(tmp_path, repository):
    """What is kept is the compressed object (a sixth) and a few thousand visits."""
    script = """
        import datetime as dt, pathlib, re, sys
        from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, generate
        start = dt.datetime(2022, 6, 6, 4)
        settings = GeneratorSettings(start=start, events=310_000, records_per_object=400_000, profile="wide")
        folder = pathlib.Path(sys.argv[1])
        truth = generate(settings, FolderSink(folder), folder / "truth")
        # ru_maxrss would begin with the peak of the process that started this one.
        peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024
        print(len(truth.objects), truth.sums["raw_bytes"] // 1_000_000, truth.sums["stored_bytes"] // 1_000_000, peak)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        cwd=repository, capture_output=True, text=True, timeout=110, check=True,
    )  # fmt: skip
    objects, raw, stored, peak = map(int, ran.stdout.split())
    assert objects == 1
    assert raw > 1_000
    assert peak < 100 + 2 * stored
