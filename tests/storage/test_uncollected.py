"""The collector is off within a block, and on again behind it, whoever overlaps."""

import gc
import threading

import pytest

from snowplow_posthog_dagster.storage.uncollected import uncollected


def test_it_is_off_within_and_on_behind_also_after_an_error():
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), uncollected():
        raise ValueError("x")
    assert gc.isenabled()


def test_a_decorated_function_can_be_called_again_and_again():
    @uncollected()
    def collecting() -> bool:
        return gc.isenabled()

    assert [collecting(), collecting(), gc.isenabled()] == [False, False, True]


def test_it_stays_off_for_whom_it_was_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_overlapping_blocks_of_many_threads_never_leave_it_off():
    def work() -> None:
        for _ in range(2_000):
            with uncollected():
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()
