"""`forget --ids FILE`: keep people out from now on, and take them out of everything that the workspace holds."""

import json
from pathlib import Path
from typing import Annotated

import typer

from snowplow_posthog_dagster.automation.housekeeping import stored_days
from snowplow_posthog_dagster.commands.days import Now, logged_days, me, operated_day, the_workspace
from snowplow_posthog_dagster.commands.terminal import FAILED, err, friendly_errors, out, plain, settings
from snowplow_posthog_dagster.errors import SettingsError, WorkspaceError
from snowplow_posthog_dagster.loading.forget import ForgetReport, Forgetting
from snowplow_posthog_dagster.loading.people import People
from snowplow_posthog_dagster.posthog.query import application_host
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.suppressed import suppress

_IDS_PER_CALL = 1_000
"""PostHog's `persons/bulk_delete` takes so many distinct_ids."""


def forget(
    ids: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A file with one id a line.")],
    now: Now = False,
) -> None:
    """Forget people: suppress their ids, purge them from the workspace, print the calls that delete them in PostHog.

    Ids are user_id, domain_userid, network_userid, client_session's userId, or whatever distinct_id is made of.
    """
    current = settings()
    with friendly_errors():
        people = People(_lines(ids), current.file.mapping, _secret(current))
        if not people.ids:
            raise SettingsError(f"{ids} holds no id")
        workspace, by = the_workspace(current), me()
        suppress(workspace, people.ids, secret=_secret(current), by=by)
        out.print(f"{len(people.ids):,} ids are suppressed: every mapping of {workspace.target} filters them.")
        total, failed = ForgetReport(), list[str]()
        # A run that was killed before its first log entry has left files of a day that has no log.
        for day in sorted({*logged_days(workspace), *stored_days(workspace)}):
            try:
                with operated_day(current, day, "forget", now=now) as load:
                    total.add(Forgetting(load, people, by=by).run())
            except WorkspaceError as error:  # a damaged file of one day keeps nobody in the others
                failed.append(f"{day}: {error}")
    _show(total)
    err.print(
        "Other targets have workspaces of their own: run this for each. The archive is Snowplow's and is not touched."
    )
    _print_calls(current, people, total)
    for line in failed:
        err.print(f"[bold red]not forgotten[/] on {plain(line)}")
    if failed:
        raise typer.Exit(FAILED)


def _lines(ids: Path) -> list[str]:
    try:
        return ids.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{ids} is not UTF-8 (byte {error.start + 1}); save it as UTF-8, one id a line") from None


def _secret(current: Settings) -> bytes:
    if current.privacy_secret is None:
        raise SettingsError(
            "SNOWPLOW_POSTHOG_PRIVACY_SECRET is not set; the suppression list holds HMACs that are keyed by it"
        )
    return current.privacy_secret


def _show(total: ForgetReport) -> None:
    out.print(
        f"Taken out: {total.unsent:,} events that were not sent, {total.dead_letters:,} dead letters, {total.sampled:,}"
        f" sampled events, {total.leftovers:,} leftover files. {total.objects_rewritten:,} results were written anew,"
        f" the batches of {total.objects_purged:,} delivered objects were purged."
    )


def _print_calls(current: Settings, people: People, total: ForgetReport) -> None:
    """PostHog's own persons and events are deleted by its API; this program never deletes there."""
    privacy = current.file.mapping.privacy
    hashed = people.hmacs.values() if privacy.hash or privacy.preset == "strict" else ()
    found = sorted({*people.ids, *hashed, *total.distinct_ids})
    project = current.environment.posthog_project_id or "<POSTHOG_PROJECT_ID>"
    out.print(f"\n{total.in_posthog:,} of their events were found among those sent. To delete them in PostHog:")
    for start in range(0, len(found), _IDS_PER_CALL):
        body = json.dumps({"distinct_ids": found[start : start + _IDS_PER_CALL], "delete_events": True})
        quoted = body.replace("'", "'\\''")
        typer.echo(
            f"curl -X POST '{application_host(current.host)}/api/projects/{project}/persons/bulk_delete/'"
            ' -H "Authorization: Bearer $POSTHOG_PERSONAL_API_KEY" -H "Content-Type: application/json"'
            f" -d '{quoted}'"
        )
