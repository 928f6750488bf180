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
        programs = postgres_programs()
        run([f"{programs}/createdb", "-h", self.host, "-p", str(self.port), "-U", self.user, made.database])
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


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """Start it without durability, in a folder of its own."""
    programs = postgres_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL's server is not installed")
    server = PostgresServer(port=free_port())
    with server_folder("postgres") as folder:
        data, log = folder / "data", folder / "postgres.log"
        run(
            [
                str(programs / "initdb"),
                "-D",
                str(data),
                "-U",
                server.user,
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ]
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(server.port),
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "64MB",
        }
        settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        process = start([str(programs / "postgres"), "-D", str(data), *settings], log, as_nobody=True)
        try:
            ask = [str(programs / "pg_isready"), "-q", "-h", server.host, "-p", str(server.port), "-d", "postgres"]
            wait_until(lambda: succeeds(ask), "PostgreSQL", process=process, log=log)
            run(
                [
                    str(programs / "createdb"),
                    "-h",
                    server.host,
                    "-p",
                    str(server.port),
                    "-U",
                    server.user,
                    server.database,
                ]
            )
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
