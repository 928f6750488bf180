"""What the drill is played on: a sandbox, a real `dagster dev`, a Slack on this machine, and files that land.

Ground ──strike──> archive, stand-in, processes        newcomer's commands ──> the sandbox's environment
"""

import contextlib
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, workspace_of
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import Sandbox
from snowplow_posthog_dagster.settings import Settings
from tests.automation.slack_server import TOKEN, SlackServer, running_slack
from tests.dagster.server import BIN, REPOSITORY, Dagster, Home, running_dagster
from tests.soak.arrivals import Arrivals
from tests.soak.play import QUICK, settings_of

_COMMAND_SECONDS = 300


@dataclass
class Ground:
    """The sandbox of one drill. Dagster is restarted when a variable of its environment changes, as a deployment is."""

    home: Home
    slack: SlackServer
    arrivals: Arrivals
    say: Callable[[str], None]
    broken_key: str = ""
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _dagster: Dagster | None = None

    @property
    def today(self) -> dt.date:
        return self.arrivals.day

    @property
    def yesterday(self) -> dt.date:
        return self.arrivals.day - dt.timedelta(days=1)

    @property
    def posthog(self) -> StandInClient:
        return self.home.posthog

    @property
    def settings(self) -> Settings:
        return settings_of(self.home)

    @property
    def dagster(self) -> Dagster:
        assert self._dagster is not None, "start() comes first"
        return self._dagster

    def start(self) -> None:
        """Start Dagster, or start it again."""
        self._running.close()
        self._dagster = self._running.enter_context(running_dagster(self.home))
        self.say(f"(Dagster's UI: {self._dagster.address}, what arrived: {self.posthog.host}/events)")

    def stop(self) -> None:
        """Stop Dagster."""
        self._running.close()

    def land(self) -> None:
        """The next file of this hour."""
        made = self.arrivals.next()
        self.arrivals.put(f"{self.arrivals.folder()}{made.key.rsplit('/', 1)[-1]}", made)

    def type(self, command: str) -> None:
        """Do what was typed: `export NAME=VALUE` changes the deployment, everything else runs in a shell."""
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.home.environment[name.strip()] = value.strip()
            self.say("(The deployment has it; Dagster starts again.)")
            self.start()
            return
        done = subprocess.run(
            command,
            shell=True,
            cwd=REPOSITORY,
            env={**self.home.environment, "PATH": f"{self._commands}:{os.environ.get('PATH', '/usr/bin:/bin')}"},
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        self.say((done.stdout + done.stderr).rstrip()[-3000:] or f"(exit code {done.returncode})")

    @property
    def _commands(self) -> Path:
        """A folder with `snowplow-posthog` as a command, also in a checkout that is not installed."""
        folder = self.home.sandbox.root / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "snowplow-posthog"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m snowplow_posthog_dagster.cli "$@"\n')
        program.chmod(0o755)
        for name in ("dagster", "dg"):
            with contextlib.suppress(FileExistsError):
                (folder / name).symlink_to(BIN / name)
        return folder


@contextlib.contextmanager
def running_ground(folder: Path, say: Callable[[str], None]) -> Iterator[Ground]:
    """A ground whose sensor is on; today has one file."""
    sandbox = Sandbox(folder / "sandbox")
    sandbox.up()
    with running_slack() as slack, pytest.MonkeyPatch.context() as patch:
        home = Home(sandbox)
        home.settings(
            # hours_present would speak of the hours before the drill began, and it is not one of the five.
            alerts={"outside_production": True, "slack_api_url": slack.url, "seconds": 5,
                    "checks": ["broken_objects", "records_present"]},
            automation=QUICK,
            delivery={"retry_seconds_per_body": 6.0},
        )  # fmt: skip
        home.instance_settings(
            lambda content: content["run_monitoring"].update(
                poll_interval_seconds=5, free_slots_after_run_end_seconds=5
            )
        )
        home.environment.update(SLACK_BOT_TOKEN=TOKEN, SNOWPLOW_POSTHOG_START_AUTOMATION="true")
        for name, value in home.environment.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        settings = settings_of(home)
        connection = connection_of(settings)
        day = dt.datetime.now(dt.UTC).date()
        arrivals = Arrivals(archive_of(settings, connection).bucket, workspace_of(settings, connection), day, seed=1)
        ground = Ground(home, slack, arrivals, say)
        ground.posthog.play()
        try:
            ground.land()
            ground.start()
            yield ground
        finally:
            ground.stop()
            sandbox.down()
