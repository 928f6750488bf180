"""A throw-away PostgreSQL (0.7 s) for Dagster's storage."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.integration.servers.processes import free_port, run, server_folder, start, stop, wait_until


@dataclass(frozen=True)
class PostgresServer:
    """One running server with one empty database; `trust` authentication on loopback only."""

    port: int
    host: str = "127.0.0.1"
    user: str = "dagster"
    database: str = "dagster"

    @property
    def url(self) -> str:
        """For SQLAlchemy 2.1, which takes a bare `postgresql://` for psycopg 3: hence the driver's name."""
        return f"postgresql+psycopg2://{self.user}@{self.host}:{self.port}/{self.database}"

    def new_database(self) -> "PostgresServer":
        """The same server with another database, empty."""
        made = replace(self, database=f"dagster_{uuid4().hex[:12]}")
        create_database(made)
        return made

    @property
    def dagster_storage(self) -> dict[str, Any]:
        """The section `storage` of a dagster.yaml; nothing here asks for a password."""
        place = {"hostname": self.host, "port": self.port, "username": self.user, "db_name": self.database}
        return {"postgres": {"postgres_db": {"scheme": "postgresql+psycopg2", "password": "not asked for", **place}}}


def postgres_programs() -> Path | None:
    """Folder of PostgreSQL's server programs, newest version first; Debian keeps them out of PATH."""
    in_path = shutil.which("initdb")
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    found = [*versions, *([Path(in_path).resolve()] if in_path else [])]
    return found[0].parent if found else None


def postgres_found() -> bool:
    """Whether PostgreSQL's server is installed."""
    return postgres_programs() is not None


def initialise(folder: Path, *, durable: bool = False) -> tuple[PostgresServer, list[str]]:
    """An empty data folder; returns the server that it will be, and the command that runs it.

    With `durable` what was committed outlives a killed server (not a lost machine); otherwise nothing is waited for.
    """
    programs = postgres_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL's server is not installed")
    server, data = PostgresServer(port=free_port()), folder / "data"
    flags = ["-U", server.user, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    run([str(programs / "initdb"), "-D", str(data), *flags])
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(server.port),
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "synchronous_commit": "on" if durable else "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "shared_buffers": "64MB",
    }
    settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    return server, [str(programs / "postgres"), "-D", str(data), *settings]


def accepts(server: PostgresServer) -> bool:
    """Whether it takes connections."""
    ready = f"{postgres_programs()}/pg_isready"
    return succeeds([ready, "-q", "-h", server.host, "-p", str(server.port), "-d", "postgres"])


def create_database(server: PostgresServer) -> None:
    """Make the database that the server's address names."""
    run(
        [
            f"{postgres_programs()}/createdb",
            "-h",
            server.host,
            "-p",
            str(server.port),
            "-U",
            server.user,
            server.database,
        ]
    )


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """Start it without durability, in a folder of its own."""
    with server_folder("postgres") as folder:
        server, command = initialise(folder)
        log = folder / "postgres.log"
        process = start(command, log, as_nobody=True)
        try:
            wait_until(lambda: accepts(server), "PostgreSQL", process=process, log=log)
            create_database(server)
            yield server
        finally:
            stop(process, by=signal.SIGINT)  # a fast shutdown: clients are disconnected


def succeeds(command: list[str]) -> bool:
    """Whether a command ends well."""
    try:
        run(command)
    except RuntimeError:
        return False
    return True
