"""`metrics`: what Prometheus scrapes, served over HTTP, written to a file, or printed once.

It reads the day logs and nothing else, so it works beside any number of runs and while Dagster is down.
"""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry, generate_latest, start_http_server, write_to_textfile

from snowplow_posthog_dagster.commands.days import the_workspace
from snowplow_posthog_dagster.commands.terminal import USAGE, err, friendly_errors, settings
from snowplow_posthog_dagster.loading.metrics import MetricsOfTarget, json_line


def metrics(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve them here until interrupted; 0 takes a free port.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="The address to serve on; 127.0.0.1 unless set.")] = None,
    textfile: Annotated[
        Path | None, typer.Option(help="Write them once to this file (.prom), for node_exporter's textfile collector.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them once as one JSON line.")] = False,
) -> None:
    """Metrics for Prometheus, from the day logs: HTTP (--port), a file (--textfile), or printed once."""
    current = settings()
    section = current.file.metrics
    with friendly_errors():
        workspace = the_workspace(current)
        collector = MetricsOfTarget(workspace, since=section.since, days=section.days)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    if as_json:
        typer.echo(json_line(collector.collect(), target=workspace.target))
    elif textfile:
        _write(registry, textfile)
    elif (chosen := section.port if port is None else port) is not None:
        _serve(registry, address or section.address, chosen)
    elif section.textfile:
        _write(registry, Path(section.textfile))
    else:
        typer.echo(generate_latest(registry).decode(), nl=False)


def _write(registry: CollectorRegistry, file: Path) -> None:
    with friendly_errors():
        try:
            write_to_textfile(str(file), registry)
        except OSError as error:  # it names the file that is renamed in the end
            raise OSError(error.errno, error.strerror, str(file)) from None


def _serve(registry: CollectorRegistry, address: str, port: int) -> None:
    over = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: over.set())
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        err.print(f"{address}:{port} cannot be served on: {error.strerror}")
        raise typer.Exit(USAGE) from None
    typer.echo(f"http://{address}:{server.server_port}/metrics")
    over.wait()
    server.shutdown()
    thread.join()
