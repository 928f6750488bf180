"""People who are forgotten leave what is stored and never come back; nobody else is touched."""

import itertools
import json
import threading
from typing import Any

import pytest

from snowplow_posthog_dagster.automation.housekeeping import keep_house
from snowplow_posthog_dagster.errors import SettingsError, WorkspaceError
from snowplow_posthog_dagster.loading import blueprint
from snowplow_posthog_dagster.loading.blueprint import Task, Workshop
from snowplow_posthog_dagster.loading.day import Narrowing
from snowplow_posthog_dagster.loading.forget import ForgetReport, Forgetting
from snowplow_posthog_dagster.loading.people import People
from snowplow_posthog_dagster.loading.reconcile import Reconciliation
from snowplow_posthog_dagster.loading.setup import blueprint_of
from snowplow_posthog_dagster.loading.transform import transform_object
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.posthog.batches import events_of, run_of
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.storage.dead_letters import dead_letter_folder
from snowplow_posthog_dagster.storage.entries import Done, Skip
from snowplow_posthog_dagster.storage.suppressed import suppress
from tests.ground import DAY, Ground, lines_of, user_line
from tests.loading.test_reconcile import reconcile
from tests.loading.test_replay import replay
from tests.snowplow.samples import contexts, line

SECRET = "a secret of the tests"
SESSION = "iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2"


@pytest.fixture
def private(ground: Ground) -> Ground:
    ground.environment = {"SNOWPLOW_POSTHOG_PRIVACY_SECRET": SECRET}
    return ground


def forget(ground: Ground, *ids: str) -> ForgetReport:
    people = People(ids, ground.settings.file.mapping, SECRET.encode())
    suppress(ground.workspace, people.ids, secret=SECRET.encode(), by="me")
    return Forgetting(ground.load(), people, by="me").run()


def everything_stored(ground: Ground) -> bytes:
    """All that lies in the workspace for the day, inflated."""
    bucket, found = ground.workspace.bucket, b""
    for key in ground.stored("batches"):
        found += b"\n".join(events_of(run_of(bucket.get(key))))
    keys = ground.stored("samples") + ground.stored("log")
    for stage in ("transform", "delivery"):
        keys += [item.key for item in bucket.listing(dead_letter_folder(ground.workspace, DAY, stage))]
    for key in keys:
        found += b"\n".join(ground.workspace.read_lines(key))
    return found


def distinct_ids(ground: Ground) -> list[str]:
    return sorted(event["distinct_id"] for event in ground.events())


def test_the_unsent_events_of_a_person_are_taken_out_and_the_rest_is_sent_once(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob"), user_line("ann"), user_line("cid")])
    private.transform()
    private.deliver(narrowing=Narrowing(max_events=1))
    assert distinct_ids(private) == ["ann"]
    report = forget(private, "ann")
    assert (report.unsent, report.in_posthog, report.objects_rewritten, report.distinct_ids) == (1, 1, 1, {"ann"})
    assert b"ann" not in everything_stored(private)
    private.run()
    assert distinct_ids(private) == ["ann", "bob", "cid"], "what PostHog has is deleted by PostHog's own API"
    assert private.posthog.raw_rows() == 3
    counts = private.counts()
    assert (counts.records, counts.mapped, counts.acknowledged, counts.resent) == (4, 3, 3, 0)
    assert dict(counts.filtered_by_rule) == {"forgotten": 1}
    assert private.state().problems() == [] and private.is_closed()


def test_nothing_of_a_forgotten_person_is_loaded_any_more(private: Ground) -> None:
    private.put("a", lines_of(1))
    private.run()
    forget(private, "ann")
    private.put("b", [user_line("ann"), user_line("bob"), line(event_id="e-1")])
    private.run()
    assert "ann" not in distinct_ids(private) and "bob" in distinct_ids(private)
    counts = private.counts()
    assert (counts.filtered_by_rule["forgotten"], counts.acknowledged) == (1, 3), "a record without ids is kept"


def test_somebody_forgotten_while_a_run_goes_on_is_kept_out_of_its_next_object(private: Ground) -> None:
    private.put("a", [user_line("ann")])
    private.put("b", [user_line("ann")], hour=5)
    load = private.load()
    first, second = load.archive.list_day(DAY)
    workshop = Workshop(blueprint_of(private.settings, private.connection, DAY, load.writer))
    before: Any = workshop.run(Task(first, 0, 0))
    suppress(private.workspace, ["ann"], secret=SECRET.encode(), by="me")
    after: Any = workshop.run(Task(second, 0, 0))
    assert (before.mapped, after.mapped, after.filtered) == (1, 0, {"forgotten": 1})


def test_somebody_forgotten_while_the_first_object_of_a_day_is_read_is_kept_out_of_it(
    private: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the day is stored then, so that `forget` does not visit it."""
    private.put("a", [user_line("ann"), user_line("bob"), user_line("ann", txn_id="many")])
    times = itertools.count()

    def in_hand(*args: Any, **options: Any) -> Done:
        if next(times) == 0:
            suppress(private.workspace, ["ann"], secret=SECRET.encode(), by="me")
        return transform_object(*args, **options)

    monkeypatch.setattr(blueprint, "transform_object", in_hand)
    private.transform()
    assert len(private.stored("batches")) == len(private.stored("samples")) == 1
    private.deliver()
    assert distinct_ids(private) == ["bob"]
    counts = private.counts()
    assert (counts.records, counts.mapped, dict(counts.filtered_by_rule)) == (3, 1, {"forgotten": 1})
    assert private.state().problems() == [] and private.is_closed()
    assert next(times) == 2, "an object is done again only when the list has changed"


def test_two_threads_of_a_worker_never_get_a_mapper_older_than_the_list(
    private: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = Workshop(blueprint_of(private.settings, private.connection, DAY, "w"))
    suppress(private.workspace, ["ann"], secret=SECRET.encode(), by="me")
    building, go_on = threading.Event(), threading.Event()
    made_with: dict[int, frozenset[str]] = {}

    def slow(*args: Any, **options: Any) -> Any:
        if not building.is_set():
            building.set()
            go_on.wait(10)
        mapper = Mapper(*args, **options)
        made_with[id(mapper)] = options["forgotten"]
        return mapper

    monkeypatch.setattr(blueprint, "Mapper", slow)
    first = threading.Thread(target=workshop._mapping_of_now)
    first.start()
    assert building.wait(10)
    found = workshop._mapping_of_now()
    go_on.set()
    first.join()
    assert found.forgotten == made_with.get(id(found.mapper)) != frozenset()


def test_a_delivered_object_loses_its_batches_and_stays_done(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob")])
    private.put("b", [user_line("cid")], hour=5)
    private.run()
    report = forget(private, "ann")
    assert (report.objects_purged, report.objects_rewritten, report.in_posthog) == (1, 0, 1)
    assert len(private.stored("batches")) == 1
    assert b'"ann"' not in everything_stored(private)
    assert private.counts().acknowledged == 3 and private.is_closed()
    assert private.run().posts == 0
    agreed = Reconciliation(private.load(), private.query, api_key="phc_sandbox", wait_seconds=0).run()
    assert (agreed.result, agreed.sampled) == ("agree", 2)


def test_the_dead_letters_of_a_person_leave_and_those_of_others_stay(private: Ground) -> None:
    private.put("a", [user_line("ann", txn_id="many"), user_line("bob", txn_id="many"), b"ann\tbroken", *lines_of(1)])
    private.run()
    assert private.counts().dead_letters == 3
    report = forget(private, "ann")
    assert report.dead_letters == 2
    stored = everything_stored(private)
    assert b"ann" not in stored and b"bob" in stored
    counts = private.counts()
    assert (counts.dead_letters, counts.filtered_by_rule["forgotten"], counts.acknowledged) == (1, 2, 1)
    assert private.state().problems() == []
    private.run()
    assert private.posthog.raw_rows() == 1 and private.is_closed()


def test_the_dead_letter_that_a_replay_has_settled_leaves_as_well(private: Ground) -> None:
    private.file = {"transform": {"max_record_bytes": 2048}}
    private.put("a", [user_line("ann", page_title="t" * 5000), user_line("bob"), b"no record of cid"])
    private.run()
    private.file = {}
    assert replay(private).mapped == 1
    report = forget(private, "ann")
    assert b"ann" not in everything_stored(private) and b"no record of cid" in everything_stored(private)
    assert (report.objects_purged, report.dead_letters, private.counts().dead_letters) == (1, 1, 1)
    assert private.state().problems() == [] and private.is_closed()


def test_refused_events_of_others_stay_refused(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob")])
    private.posthog.play(Fault(name="refused", status=400, body="poison"))
    private.run()
    assert private.counts().delivery_dead_letters == 2
    forget(private, "ann")
    assert b"ann" not in everything_stored(private) and b"bob" in everything_stored(private)
    counts = private.counts()
    assert (counts.delivery_dead_letters, counts.filtered_by_rule["forgotten"], counts.pending) == (1, 1, 0)
    assert private.state().problems() == []


def lose_the_batches(ground: Ground) -> None:
    """What an S3 lifecycle rule on the workspace does."""
    ground.workspace.bucket.delete(ground.stored("batches"))


def test_refused_events_whose_batch_is_missing_are_kept_from_their_dead_letters(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob"), user_line("ann", txn_id="many")])
    private.posthog.play(Fault(name="refused", status=400, body="poison"))
    private.run()
    lose_the_batches(private)
    forget(private, "ann")
    assert b"ann" not in everything_stored(private) and b"bob" in everything_stored(private)
    counts = private.counts()
    assert (counts.delivery_dead_letters, counts.filtered_by_rule["forgotten"], counts.pending) == (1, 2, 0)
    assert private.state().problems() == []


def test_an_object_whose_unsent_events_are_missing_is_named_and_left_as_it_is(private: Ground) -> None:
    key = private.put("a", [user_line("ann", txn_id="many"), *lines_of(3)])
    private.transform()
    lose_the_batches(private)
    before = private.counts()
    with pytest.raises(WorkspaceError, match=rf"{key} \(3 events\)\. `snowplow-posthog remap .*--damaged`"):
        forget(private, "ann")
    assert private.counts() == before and private.state().problems() == []


def test_a_skipped_object_stays_skipped(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob")])
    private.transform()
    (name,) = private.state().objects
    private.load().log.write([Skip(object=name, revision=1, reason="why", by="me", at="now")], writer="operator")
    forget(private, "ann")
    known = private.state().objects[name]
    assert (known.status, known.reason, private.counts().withdrawn) == ("skipped", "why", 1)
    private.run()
    assert private.events() == []


def test_a_deleted_object_is_not_told_once_more(private: Ground) -> None:
    key = private.put("a", [user_line("ann"), user_line("bob")])
    private.transform()
    private.delete(key)
    assert "was deleted" in private.transform().changed[0]
    assert forget(private, "ann").objects_rewritten == 1
    assert private.transform().changed == []
    private.run()
    assert distinct_ids(private) == ["bob"]


def test_a_day_that_has_left_the_archive_list_is_visited_to_its_end(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob"), b"no record of ann\tann"])
    private.run()
    private.file = {"archive": [{"prefix": "output/", "from": "2023-01-01"}]}
    assert forget(private, "ann").in_posthog == 1
    assert b"ann" not in everything_stored(private)
    assert reconcile(private).result == "not checked"
    assert keep_house(private.load(), dry_run=False, retention_days=30).summary() == "nothing"


def test_files_that_no_result_lists_are_found(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob")])
    private.transform()
    (key,) = private.stored("batches")
    orphan = private.workspace.batch_key(DAY, "f" * 32, "0" * 32)  # of a run that crashed before it logged
    private.workspace.bucket.put(orphan, private.workspace.bucket.get(key))
    report = forget(private, "ann")
    assert report.leftovers == 1 and b"ann" not in everything_stored(private)


def test_forgetting_twice_changes_nothing_more(private: Ground) -> None:
    private.put("a", [user_line("ann"), user_line("bob")])
    private.transform()
    forget(private, "ann")
    state = private.state()
    report = forget(private, "ann")
    assert (report.unsent, report.objects_rewritten, report.leftovers) == (0, 0, 0)
    assert private.state().objects == state.objects


def test_a_crash_before_the_old_files_are_deleted_is_finished_by_the_next_forget(
    private: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    private.put("a", [user_line("ann"), user_line("bob"), user_line("ann", txn_id="many")])
    private.transform()
    people = People(["ann"], private.settings.file.mapping, SECRET.encode())
    load = private.load()
    monkeypatch.setattr(type(load.workspace.bucket), "delete", _crash)
    with pytest.raises(RuntimeError, match="crash"):
        Forgetting(load, people, by="me").run()
    monkeypatch.undo()
    assert b"ann" in everything_stored(private) and private.state().problems() == []
    forget(private, "ann")
    assert b"ann" not in everything_stored(private)
    private.run()
    assert distinct_ids(private) == ["bob"] and private.state().problems() == []


def _crash(self: object, keys: list[str]) -> None:
    raise RuntimeError("crash")


def test_hashed_ids_are_found_by_their_hmac(private: Ground) -> None:
    private.file = {"mapping": {"privacy": {"hash": ["domain_userid"]}}}
    private.put("a", [user_line("ann"), user_line("bob")])
    private.transform()
    assert forget(private, "ann").unsent == 1


def test_the_list_of_another_secret_is_refused_instead_of_matching_nobody(private: Ground) -> None:
    suppress(private.workspace, ["ann"], secret=b"another secret", by="me")
    private.put("a", [user_line("ann")])
    with pytest.raises(SettingsError, match="another SNOWPLOW_POSTHOG_PRIVACY_SECRET"):
        private.run()
    private.environment = {}
    with pytest.raises(SettingsError, match="not set"):
        private.run()
    assert private.events() == []


def test_the_suppression_list_holds_no_id(private: Ground) -> None:
    key = suppress(private.workspace, ["ann"], secret=SECRET.encode(), by="me")
    assert b"ann" not in b"".join(private.workspace.read_lines(key))


# -- who is meant, without servers -----------------------------------------------------------------------------------

EVENT: dict[str, Any] = {"uuid": "u", "event": "e", "distinct_id": "someone", "properties": {}}


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"distinct_id": "ann"}, True),
        ({"distinct_id": "annabel"}, False),
        ({"properties": {"$user_id": "ann"}}, True),
        ({"properties": {"$device_id": "ann"}}, True),
        ({"properties": {"network_userid": "ann"}}, True),
        ({"properties": {"page_title": "ann"}}, False),
        ({"properties": {"contexts_com_snowplowanalytics_snowplow_client_session_1": [{"userId": "ann"}]}}, True),
        ({"properties": {"client_session_userId": "ann"}}, True),
        ({"properties": {"contexts_x_1": [{"inner": {"user_id": "ann"}}]}}, True),
        ({"properties": {"contexts_x_1": [{"name": "ann"}]}}, False),
    ],
)
def test_ids_are_looked_for_where_ids_are(private: Ground, changes: dict[str, Any], meant: bool) -> None:
    people = People([" ann "], private.settings.file.mapping, b"s")
    assert people.in_event({**EVENT, **changes}) is meant


def test_an_id_in_an_entity_of_a_record_is_found_in_its_dead_letter(private: Ground) -> None:
    people = People(["ann"], private.settings.file.mapping, b"s")
    broken = line(txn_id="x", contexts=contexts((SESSION, {"userId": "ann"})))
    assert people.in_letter({"data": {"payload": broken.decode()}})
    assert not people.in_letter({"data": {"payload": line(txn_id="x", page_title="ann").decode()}})
    assert json.dumps("ann") in broken.decode()
