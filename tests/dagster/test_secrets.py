"""No secret in anything that a load leaves behind: marked ones are looked for everywhere after runs of every kind.

good run, 401, wrong S3 secret, wrong settings, crash, query API, Slack that refuses
    └── output of every process, Dagster's home (databases, logs of steps), GraphQL, every object of the workspace
"""

import base64
import gzip
import json
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.sandbox import servers
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.sandbox.projects import PERSONAL_API_KEY, Project
from tests.automation.slack_server import SlackServer, running_slack
from tests.dagster.server import Dagster, Home, running_dagster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECRETS = {
    "POSTHOG_PROJECT_API_KEY": "phc_markedProjectKey4711",
    "POSTHOG_PERSONAL_API_KEY": PERSONAL_API_KEY,
    "AWS_SECRET_ACCESS_KEY": "markedAwsSecret4713/+x",
    "SLACK_BOT_TOKEN": "xoxb-markedSlackToken4714",
    "SNOWPLOW_POSTHOG_PRIVACY_SECRET": "markedPrivacySecret4715",
}
OTHERS = {
    "another S3 secret": "markedWrongAwsSecret4716",
    "another project key": "phc_markedOtherKey4717",
    "a personal key in the wrong place": "phx_markedMisplacedKey4718",
    "a personal key that PostHog does not know": "phx_markedUnknownKey4720",
    "a password of a proxy": "markedProxyPassword4719",
}
GOOD, REFUSED, CRASHED = "2021-02-26", "2021-03-01", "2021-03-03"
EVENTS = """query ($id: ID!, $after: String) { logsForRun(runId: $id, afterCursor: $after, limit: 500) {
  __typename ... on EventConnection { cursor hasMore events { __typename
    ... on MessageEvent { message eventType stepKey level }
    ... on DisplayableEvent { label description metadataEntries { label description
      ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString }
      ... on UrlMetadataEntry { url } } }
    ... on ErrorEvent { error { message stack className causes { message stack }
      errorChain { error { message stack } } } } } } } }"""
RESOURCES = """{ allTopLevelResourceDetailsOrError(repositorySelector: {repositoryLocationName:
  "snowplow_posthog_dagster", repositoryName: "__repository__"}) { __typename
  ... on ResourceDetailsList { results { name description configFields { name description defaultValueAsJson }
    configuredValues { key value type } } } } }"""
ASSETS = """{ assetNodes { id description opNames opVersion configField { name defaultValueAsJson description }
  metadataEntries { label description ... on TextMetadataEntry { text } ... on UrlMetadataEntry { url }
    ... on JsonMetadataEntry { jsonString } } requiredResources { resourceKey }
  assetMaterializations { metadataEntries { label ... on TextMetadataEntry { text }
    ... on MarkdownMetadataEntry { mdStr }
    ... on JsonMetadataEntry { jsonString } ... on UrlMetadataEntry { url } } } } }"""
INSTANCE = """{ version instance { info runLauncher { name } daemonHealth { allDaemonStatuses { daemonType
  lastHeartbeatErrors { message stack } } } } }"""
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name displayMetadata { key value }
  locationOrLoadError { __typename ... on PythonError { message stack } ... on RepositoryLocation { name
  repositories { name origin { id } displayMetadata { key value } } } } } } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value } } } } }"
SENSORS = """{ sensorsOrError(repositorySelector: {repositoryLocationName: "snowplow_posthog_dagster",
  repositoryName: "__repository__"}) { ... on Sensors { results { name metadata { assetKeys { path } }
  sensorState { ticks(limit: 20) { status skipReason cursor error { message stack }
  logEvents { events { message } } } } } } } }"""


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackServer]:
    with running_slack() as server:
        yield server


@pytest.fixture(scope="module")
def home(make_home: Any, slack: SlackServer) -> Iterator[Home]:
    """A sandbox whose S3 has the marked secret, a project with the marked key, and automation that runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "SECRET_ACCESS_KEY", SECRETS["AWS_SECRET_ACCESS_KEY"])
        made: Home = make_home()
        made.environment.update(SECRETS, SNOWPLOW_POSTHOG_START_AUTOMATION="true")
        made.settings(
            mapping={"privacy": {"hash": ["domain_userid"]}},
            alerts={"slack_api_url": slack.url, "seconds": 10, "outside_production": True},
        )
        project = Project(id=1, name="marked", api_token=SECRETS["POSTHOG_PROJECT_API_KEY"])
        made.posthog.set_projects([project])
        yield made


@pytest.fixture(scope="module")
def left_behind(home: Home, slack: SlackServer) -> dict[str, bytes]:
    """Everything that runs of every kind have left, by where it is."""
    found: dict[str, bytes] = {}
    with running_dagster(home) as dagster:
        assert dagster.wait_for_run(dagster.materialize(GOOD)) == "SUCCESS"
        echo = f"API key is not valid: {SECRETS['POSTHOG_PROJECT_API_KEY']}"
        home.posthog.play(Fault(status=401, body=echo))
        assert dagster.wait_for_run(dagster.materialize(REFUSED)) == "FAILURE"
        home.posthog.play()
        dagster.wait_for(lambda: slack.attempts, "an alert that Slack refuses", 60)
        for name, done in failing_commands(home).items():
            found[f"output of {name}"] = done
        found |= {f"GraphQL: {name}": answer for name, answer in graphql(dagster).items()}
        with urllib.request.urlopen(dagster.address, timeout=30) as page:
            found["the UI's page"] = page.read()
    found |= files(Path(home.environment["DAGSTER_HOME"]), "Dagster's home")
    found |= files(home.sandbox.root / "logs", "logs of servers")
    found |= files(home.sandbox.root / "s3" / servers.WORKSPACE_BUCKET, "workspace")
    return found


def failing_commands(home: Home) -> dict[str, bytes]:
    """What commands say that succeed or fail for every kind of reason, each with its own environment."""
    crash = ("dagster", "asset", "materialize", "--select", "*", "-m", "tests.dagster.crashing")
    proxy = f"http://user:{OTHERS['a password of a proxy']}@127.0.0.1:9"
    settings = home.sandbox.root / "proxied.yaml"
    settings.write_text(f"delivery: {{proxy: '{proxy}', retry_seconds_per_body: 1}}")
    evidence = str(home.sandbox.root / "logs" / "evidence.json")
    ours_is_unknown = {"POSTHOG_PERSONAL_API_KEY": OTHERS["a personal key that PostHog does not know"]}
    tried: dict[str, tuple[tuple[str, ...], dict[str, str], bool]] = {
        "reconcile": (("snowplow-posthog", "reconcile", GOOD), {}, True),
        "evidence": (("snowplow-posthog", "status", "--evidence", evidence), {}, True),
        "wrong S3 secret": (
            ("snowplow-posthog", "load", REFUSED, "--now"),
            {"AWS_SECRET_ACCESS_KEY": OTHERS["another S3 secret"]},
            False,
        ),
        "another key for the target": (
            ("snowplow-posthog", "load", REFUSED, "--now"),
            {"POSTHOG_PROJECT_API_KEY": OTHERS["another project key"]},
            False,
        ),
        "personal key as project key": (
            ("snowplow-posthog", "load", REFUSED, "--now"),
            {"POSTHOG_PROJECT_API_KEY": OTHERS["a personal key in the wrong place"]},
            False,
        ),
        "proxy with a password": (
            ("snowplow-posthog", "load", REFUSED, "--now"),
            {"SNOWPLOW_POSTHOG_SETTINGS": str(settings)},
            False,
        ),
        "crash": ((*crash, "--partition", CRASHED), {}, False),
        "doctor": (("snowplow-posthog", "doctor"), ours_is_unknown, False),
    }  # fmt: skip
    found = {}
    for name, (command, changes, good) in tried.items():
        done = Home(home.sandbox, {**home.environment, **changes}).command(*command)
        assert (done.returncode == 0) is good, f"{name}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        found[name] = (done.stdout + done.stderr).encode()
    return found


def graphql(dagster: Dagster) -> dict[str, bytes]:
    """What the UI can ask for."""
    asked = {
        "resources": RESOURCES,
        "assets": ASSETS,
        "instance": INSTANCE,
        "runs": RUNS,
        "sensors": SENSORS,
        "locations": LOCATIONS,
    }
    answers = {name: dagster.ask(query) for name, query in asked.items()}
    for run in answers["runs"]["runsOrError"]["results"]:
        answers[f"events of {run['runId']}"] = dagster.ask(EVENTS, id=run["runId"])
    return {name: json.dumps(answer, ensure_ascii=False).encode() for name, answer in answers.items()}


def files(folder: Path, name: str) -> dict[str, bytes]:
    """Every file below a folder, inflated where it is gzip."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found[f"{name}: {path.relative_to(folder)}"] = inflated(data)
    return found


def inflated(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return data


def forms(secret: str) -> set[bytes]:
    """How a secret may stand there: as it is, in JSON, in a URL, in base64 (of an Authorization header, say)."""
    raw = secret.encode()
    return {
        raw,
        json.dumps(secret)[1:-1].encode(),
        urllib.parse.quote(secret, safe="").encode(),
        base64.b64encode(raw),
    }


def holding(left: dict[str, bytes], secret: str) -> list[str]:
    return [place for place, data in left.items() if any(form in data for form in forms(secret))]


def test_everything_was_looked_at(left_behind: dict[str, bytes], home: Home, slack: SlackServer) -> None:
    kinds = {place.partition(":")[0] for place in left_behind}
    assert {"Dagster's home", "workspace", "logs of servers", "GraphQL"} <= kinds
    assert "an unforeseen crash with a body of" in left_behind["output of crash"].decode()
    assert len(holding(left_behind, "an unforeseen crash with a body of")) >= 3, "output, database, GraphQL"
    assert len(holding(left_behind, "API key is not valid")) >= 3
    assert holding(left_behind, "SignatureDoesNotMatch") or holding(left_behind, "AWS_SECRET_ACCESS_KEY")
    assert len([place for place in left_behind if place.startswith("GraphQL: events of")]) >= 5
    assert [place for place in left_behind if "/batches/" in place and b'"batch":[' in left_behind[place]]
    assert any("compute_logs" in place for place in left_behind), "stdout and stderr of steps"
    assert slack.attempts and not slack.messages
    assert home.posthog.merged_rows() > 0
    assert all(request["token"] in {SECRETS["POSTHOG_PROJECT_API_KEY"], None} for request in home.posthog.requests())


@pytest.mark.parametrize("name", sorted({**SECRETS, **OTHERS}))
def test_a_secret_stands_nowhere(left_behind: dict[str, bytes], name: str) -> None:
    assert holding(left_behind, {**SECRETS, **OTHERS}[name]) == []
