"""A company's network on loopback: a proxy that every request must pass, and TLS with a CA that nobody else knows.

    client ──> Proxy ──> TlsFront ──> server

Both forward bytes and count; neither looks into what it carries. The proxy knows CONNECT (for https) and whole
addresses in the request line (for http). `PathFront` puts a server below a path, as a reverse proxy does.
"""

import contextlib
import datetime as dt
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LONGEST_HEADER = 65536


@dataclass
class Front:
    """A listener on a free port of loopback that handles each connection in a thread."""

    port: int
    connections: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def listening(handle: Callable[[socket.socket, Front], None]) -> Iterator[Front]:
    """Accept connections until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        front = Front(server.getsockname()[1])

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                handle(connection, front)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield front
        finally:
            server.shutdown(socket.SHUT_RDWR)


def splice(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    peers = {one: other, other: one}
    while True:
        readable = [one] if isinstance(one, ssl.SSLSocket) and one.pending() else select.select([*peers], [], [], 30)[0]
        if not readable:
            return
        for source in readable:
            data = source.recv(65536)
            if not data:
                return
            peers[source].sendall(data)


def read_head(connection: socket.socket) -> bytes:
    """Everything up to the end of the header, and what came with it."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEADER:
        data = connection.recv(65536)
        if not data:
            break
        head += data
    return head


def proxy() -> contextlib.AbstractContextManager[Front]:
    """An HTTP proxy; `connections` says where each connection wanted to go."""

    def handle(connection: socket.socket, front: Front) -> None:
        head = read_head(connection)
        method, target, rest = head.split(b" ", 2)
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            front.connections.append(f"CONNECT {host}:{port}")
            with socket.create_connection((host, int(port))) as server:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                splice(connection, server)
            return
        parts = urlsplit(target.decode())
        front.connections.append(f"{method.decode()} {parts.hostname}:{parts.port}")
        path = target[len(f"{parts.scheme}://{parts.netloc}") :]
        with socket.create_connection((parts.hostname, parts.port or 80)) as server:
            # One request a connection: the next one on it may want to go elsewhere.
            server.sendall(method + b" " + path + b" " + rest.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            splice(connection, server)

    return listening(handle)


def tls_front(port: int, folder: Path) -> contextlib.AbstractContextManager[Front]:
    """TLS for localhost and 127.0.0.1 before a plain server, by a CA of its own: folder/ca.pem."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificates(folder))

    def handle(connection: socket.socket, front: Front) -> None:
        front.connections.append("tls")
        with (
            context.wrap_socket(connection, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            splice(secured, server)

    return listening(handle)


def path_front(port: int, path: str) -> contextlib.AbstractContextManager[Front]:
    """A reverse proxy that shows a server below a path and answers 404 to everything else."""

    def handle(connection: socket.socket, front: Front) -> None:
        head = read_head(connection)
        method, target, rest = head.split(b" ", 2)
        front.connections.append(target.decode())
        if not target.startswith(path.encode() + b"/"):
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port)) as server:
            below = target[len(path) :]
            server.sendall(method + b" " + below + b" " + rest.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            splice(connection, server)

    return listening(handle)


def write_certificates(folder: Path) -> Path:
    """A CA (ca.pem) and a certificate by it, with its key (server.pem, returned)."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a company's own CA")])
    now = dt.datetime.now(dt.UTC)

    def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    authority = (
        builder(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(secret + certificate.public_bytes(pem))
    return folder / "server.pem"
