"""Real servers for the integration tests, each a context manager that starts one on loopback and stops it by process.

    moto()      the AWS emulator: quick and pip-only, conditional writes right, signatures not checked
    rclone()    plain files in a folder served as S3, signatures checked, conditional writes ignored
    ceph()      a one-node Ceph with its RADOS Gateway: signatures, multipart and paging as in production
    postgres()  PostgreSQL, for Dagster's storage

PostgreSQL refuses to run as root and Ceph should not: as root they are started as `nobody`. Everything dies with the
process that started it, also when that one is killed.
"""

from tests.integration.servers.ceph import ceph
from tests.integration.servers.postgres import PostgresServer, postgres
from tests.integration.servers.s3 import S3Server, moto, rclone

__all__ = ["PostgresServer", "S3Server", "ceph", "moto", "postgres", "rclone"]
