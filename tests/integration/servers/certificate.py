"""A certificate that is its own authority, for servers that speak TLS on this machine."""

import ssl
import subprocess
from pathlib import Path


def self_signed(folder: Path, *, names: str) -> tuple[Path, Path]:
    """A new certificate for these names (such as `DNS:localhost` or `IP:127.0.0.1`), and its key, as files."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", f"subjectAltName={names}", "-out", str(certificate), "-keyout", str(key),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What a server needs to show it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context
