"""What must be said in Slack, told in advance by whoever plays the fault, and held against what was said.

Every message must have been expected and every expectation must be met, one by one: two wrong ones do not make a
right sum.
"""

import threading
import time
from dataclasses import dataclass, field

from tests.automation.slack_server import SlackServer


@dataclass
class Expected:
    """A message that holds all these words; `met` is its place among what Slack was told."""

    words: tuple[str, ...]
    met: int | None = None


@dataclass
class Story:
    """The expectations and the Slack server that is told."""

    slack: SlackServer
    expected: list[Expected] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, *words: str) -> Expected:
        """From now on a message with these words is due."""
        one = Expected(words)
        with self._lock:
            self.expected.append(one)
        return one

    def match(self) -> None:
        """Give each message to the first open expectation that it meets."""
        with self._lock:
            taken = {one.met for one in self.expected}
            for number, text in enumerate(self.slack.texts()):
                if number in taken:
                    continue
                due = (one for one in self.expected if one.met is None and all(word in text for word in one.words))
                found = next(due, None)
                if found:
                    found.met = number

    def wait(self, one: Expected, seconds: float) -> bool:
        """Wait until the message came; a missing one is counted at the end."""
        until = time.monotonic() + seconds
        while one.met is None and time.monotonic() < until:
            time.sleep(0.5)
            self.match()
        return one.met is not None

    def problems(self) -> list[str]:
        """Messages that nobody expected, and expectations that nobody met."""
        self.match()
        met = {one.met for one in self.expected}
        unasked = [text for number, text in enumerate(self.slack.texts()) if number not in met]
        missing = [one.words for one in self.expected if one.met is None]
        return [f"unexpected message: {text}" for text in unasked] + [f"no message with {words}" for words in missing]
