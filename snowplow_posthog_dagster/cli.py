"""`snowplow-posthog`: the command line. Reads like a table of contents; the commands are in `commands/`."""

import dotenv
import typer

from snowplow_posthog_dagster.commands import (
    backfill,
    dead_letters,
    doctor,
    estimate,
    fields,
    forget,
    generate,
    housekeeping,
    load,
    metrics,
    operate,
    pipes,
    preview,
    reconcile,
    remap,
    report,
    sandbox,
    scale,
    status,
)

app = typer.Typer(
    help="Snowplow's enriched events from S3 into PostHog.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)


@app.callback()
def main() -> None:
    """Snowplow's enriched events from S3 into PostHog."""
    dotenv.load_dotenv(".env")


SANDBOX, LOOKING, LOADING, OPERATING = "Sandbox", "Looking, sends nothing", "Loading", "Operating"

app.command(rich_help_panel=SANDBOX)(sandbox.demo)
app.command(rich_help_panel=SANDBOX)(sandbox.dev)
app.command(rich_help_panel=SANDBOX)(sandbox.up)
app.command(rich_help_panel=SANDBOX)(sandbox.down)
app.command("generate", rich_help_panel=SANDBOX)(generate.generate_)
app.command(rich_help_panel=SANDBOX)(scale.scale)
app.command(rich_help_panel=LOOKING)(preview.preview)
app.command(rich_help_panel=LOOKING)(pipes.parse)
app.command("map", rich_help_panel=LOOKING)(pipes.map_)
app.command(rich_help_panel=LOOKING)(fields.fields)
app.command(rich_help_panel=LOOKING)(estimate.estimate)
app.command(rich_help_panel=LOADING)(doctor.doctor)
app.command(rich_help_panel=LOADING)(load.load)
app.command(rich_help_panel=LOADING)(backfill.backfill)
app.command(rich_help_panel=OPERATING)(status.status)
app.command(rich_help_panel=OPERATING)(metrics.metrics)
app.command(rich_help_panel=OPERATING)(report.report)
app.command(rich_help_panel=OPERATING)(operate.skip)
app.command(rich_help_panel=OPERATING)(operate.unskip)
app.command(rich_help_panel=OPERATING)(operate.pause)
app.command(rich_help_panel=OPERATING)(operate.resume)
app.command(rich_help_panel=OPERATING)(reconcile.reconcile)
app.command(rich_help_panel=OPERATING)(remap.remap)
app.command(rich_help_panel=OPERATING)(forget.forget)
app.command(rich_help_panel=OPERATING)(housekeeping.housekeeping)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel=OPERATING)
app.add_typer(operate.check_app, name="check", rich_help_panel=OPERATING)
app.add_typer(operate.target_app, name="target", rich_help_panel=OPERATING)

if __name__ == "__main__":
    app()
