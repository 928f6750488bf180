"""One run at a time works on a day of a target, whatever the clocks say; nothing is held by the dead."""

import datetime as dt
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.errors import InterruptedRunError, StorageUnavailableError
from snowplow_posthog_dagster.loading import pacing_leases
from snowplow_posthog_dagster.loading.pacing_leases import LeasedPace
from snowplow_posthog_dagster.sandbox.servers import running_s3
from snowplow_posthog_dagster.storage import leases
from snowplow_posthog_dagster.storage.leases import DayLease, holder_of, remove_dead_leases
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.workspace import Workspace

DAY = dt.date(2022, 6, 6)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("lease-s3")
    with running_s3(folder) as environment:
        yield connect(
            Connection(
                endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
                region=environment["AWS_REGION"],
                access_key_id=environment["AWS_ACCESS_KEY_ID"],
                secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            )
        )


@pytest.fixture
def workspace(client: Any) -> Workspace:
    name = f"leases-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    return Workspace(Bucket(client, name), "posthog/", "test")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the seconds: a lease is renewed every half second and lives for one and a half."""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.5)
    monkeypatch.setattr(leases, "LIFE_SECONDS", 1.5)


def lease(workspace: Workspace, name: str, **options: Any) -> DayLease:
    return DayLease(workspace, DAY, sender=name, who=f"run {name} on {name}.example", **options)


def keys(workspace: Workspace) -> list[str]:
    return [item.key for item in workspace.bucket.listing(workspace.folder("leases"))]


def test_a_free_day_is_taken_at_once_and_given_back(workspace: Workspace) -> None:
    began = time.monotonic()
    with lease(workspace, "first"):
        assert time.monotonic() - began < 2
        assert holder_of(workspace, DAY) == "first"
        assert holder_of(workspace, DAY + dt.timedelta(days=1)) is None
    assert holder_of(workspace, DAY) is None
    assert keys(workspace) == []


def test_readers_that_look_at_the_same_moment_see_the_holder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = leases.live_leases, []

    def while_another_looks(*args: Any) -> list[leases.Live]:
        monkeypatch.setattr(leases, "live_leases", real)
        seen.append(holder_of(workspace, DAY))
        return real(*args)

    with lease(workspace, "first"):
        monkeypatch.setattr(leases, "live_leases", while_another_looks)
        seen.append(holder_of(workspace, DAY))
    assert seen == ["first", "first"]
    assert keys(workspace) == []


@pytest.mark.usefixtures("quick")
def test_a_second_run_waits_and_says_for_whom(workspace: Workspace) -> None:
    waited_for: list[str] = []
    order: list[str] = []

    def second() -> None:
        with lease(workspace, "second", on_wait=waited_for.append):
            order.append("second begins")

    with lease(workspace, "first"):
        thread = threading.Thread(target=second)
        thread.start()
        # Longer than a lease lives: it is the renewal that keeps the day.
        time.sleep(3)
        order.append("first ends")
    thread.join(10)
    assert order == ["first ends", "second begins"]
    assert set(waited_for) == {"run first on first.example"}


@pytest.mark.usefixtures("quick")
def test_the_lease_of_a_run_that_died_expires(workspace: Workspace) -> None:
    dead = lease(workspace, "dead")
    dead._write("holding")
    began = time.monotonic()
    with lease(workspace, "next"):
        assert 1.0 < time.monotonic() - began < 5


@pytest.mark.usefixtures("quick")
def test_a_run_that_may_not_wait_takes_the_day_from_the_other(workspace: Workspace) -> None:
    with lease(workspace, "first"):
        began = time.monotonic()
        with lease(workspace, "second", wait=False):
            assert time.monotonic() - began < 1


@pytest.mark.usefixtures("quick")
def test_the_steps_of_one_run_do_not_wait_for_each_other(workspace: Workspace) -> None:
    with lease(workspace, "run"), lease(workspace, "run"):
        pass


@pytest.mark.usefixtures("quick")
def test_a_run_that_is_stopped_while_it_waits_goes_on_at_once(workspace: Workspace) -> None:
    stop = threading.Event()
    with lease(workspace, "first"):
        threading.Timer(0.7, stop.set).start()
        began = time.monotonic()
        with lease(workspace, "second", stop=stop):
            assert time.monotonic() - began < 3


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_of_many_that_come_at_the_same_moment_one_works_at_a_time(workspace: Workspace) -> None:
    inside: list[str] = []
    most: list[int] = []

    def work(name: str) -> None:
        with lease(workspace, name):
            inside.append(name)
            most.append(len(inside))
            time.sleep(0.3)
            inside.remove(name)

    threads = [threading.Thread(target=work, args=(f"run-{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 5


@pytest.mark.usefixtures("quick")
def test_ages_are_those_of_s3_and_not_of_the_machines_clock(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease(workspace, "first"):
        waited_for: list[str] = []
        stop = threading.Event()
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        threading.Timer(1.0, stop.set).start()
        with lease(workspace, "an hour ahead", on_wait=waited_for.append, stop=stop):
            pass
        assert waited_for == ["run first on first.example"] * len(waited_for) != []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("trouble", [StorageUnavailableError("no answer"), ZeroDivisionError("a defect")])
def test_a_lease_that_cannot_be_renewed_does_not_end_the_work(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    with lease(workspace, "first") as held:

        def away(role: str) -> None:
            raise trouble

        monkeypatch.setattr(held, "_write", away)
        time.sleep(1.2)
        assert held._renewer is not None and held._renewer.is_alive()


def test_an_s3_that_is_away_at_the_end_does_not_end_work_that_is_done(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(bucket: Bucket, keys: list[str]) -> None:
        raise StorageUnavailableError("no answer")

    with lease(workspace, "first"):
        monkeypatch.setattr(Bucket, "delete", away)


def test_an_s3_that_hangs_at_the_end_does_not_hold_up_a_run_that_was_interrupted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(leases, "LAST_WORD_SECONDS", 0.2)
    monkeypatch.setattr(pacing_leases, "LAST_WORD_SECONDS", 0.2)

    def interrupted() -> None:
        with lease(workspace, "first"), LeasedPace(workspace, cap=100.0, sender="first", weight=1) as pace:
            assert pace.wait(1, threading.Event())
            monkeypatch.setattr(Bucket, "delete", lambda *_: hanging.wait(30))
            raise InterruptedRunError("the run was asked to stop")

    began = time.monotonic()
    with pytest.raises(InterruptedRunError, match="asked to stop"):
        interrupted()
    assert time.monotonic() - began < 5.0
    hanging.set()


def test_a_lease_whose_content_is_damaged_is_named_by_its_sender(workspace: Workspace) -> None:
    folder = f"{workspace.folder('leases')}day={DAY}/"
    workspace.bucket.put(f"{folder}other/holding", b"")
    waited_for: list[str] = []
    stop = threading.Event()

    def on_wait(who: str) -> None:
        waited_for.append(who)
        stop.set()

    with lease(workspace, "second", on_wait=on_wait, stop=stop):
        assert waited_for == ["other"]


def test_what_killed_holders_left_is_removed_after_an_hour(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace.folder("leases")
    for name in ("killed/4", "day=2022-06-06/killed/holding"):
        workspace.bucket.put(folder + name, b"{}")
    time.sleep(0.6)
    for name in ("young/4", "own/4"):
        workspace.bucket.put(folder + name, b"{}")
    remove_dead_leases(workspace, folder, folder + "own/4")
    assert len(keys(workspace)) == 4
    monkeypatch.setattr(leases, "DEAD_SECONDS", 0.4)
    remove_dead_leases(workspace, folder, folder + "own/4")
    assert keys(workspace) == [folder + "own/4", folder + "young/4"]
