"""The real servers of the integration tests, here too."""

from tests.integration.conftest import ceph_server, moto_server, postgres_server

__all__ = ["ceph_server", "moto_server", "postgres_server"]
