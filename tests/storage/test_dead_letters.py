"""Dead letters of one object: one file, however many they are, and not held in memory."""

import json
import random

import pytest

from snowplow_posthog_dagster.storage import dead_letters
from snowplow_posthog_dagster.storage.dead_letters import TRANSFORM, DeadLetterFile, read_dead_letters
from tests.ground import DAY, Ground


def letters(count: int) -> list[dict[str, object]]:
    chance = random.Random(1)
    return [{"ordinal": number, "payload": chance.randbytes(300).hex()} for number in range(count)]


def stored(ground: Ground, count: int) -> tuple[str, bool]:
    """Store so many; the file's name, and whether it went to disk before it was stored."""
    file = DeadLetterFile(ground.workspace, DAY, TRANSFORM, "a" * 32)
    for letter in letters(count):
        file.add(letter)
    on_disk = bool(vars(file._file)["_rolled"])
    name = file.write()
    assert name is not None
    assert list(read_dead_letters(ground.workspace, DAY, TRANSFORM, name)) == letters(count)
    return name, on_disk


def test_an_object_of_nothing_but_dead_letters_does_not_fill_the_memory(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory, on_disk = stored(ground, 2_000)
    assert not on_disk
    monkeypatch.setattr(dead_letters, "_MEMORY_BYTES", 50_000)
    assert stored(ground, 2_000) == (in_memory, True), "the name is a digest of the same bytes"
    assert not stored(ground, 10)[1]


def test_no_dead_letter_is_no_file(ground: Ground) -> None:
    assert DeadLetterFile(ground.workspace, DAY, TRANSFORM, "a" * 32).write() is None
    assert ground.stored("dead_letters") == []


def test_a_letter_is_one_line_of_json_whatever_it_holds(ground: Ground) -> None:
    file = DeadLetterFile(ground.workspace, DAY, TRANSFORM, "a" * 32)
    file.add({"payload": "a\nb\u2028c\tüé", "place": {"line": 1}})
    name = file.write()
    assert name is not None
    (letter,) = read_dead_letters(ground.workspace, DAY, TRANSFORM, name)
    assert letter == json.loads(json.dumps({"payload": "a\nb\u2028c\tüé", "place": {"line": 1}}))
