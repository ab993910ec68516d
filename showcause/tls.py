"""Certificates for TLS: PEM files, read and checked before anything relies on them; and where none are needed.

Errors are OSError, and name the file and what is wrong with it: gRPC itself would say nothing, and refuse every call.
Imports no torch.
"""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import grpc


def is_loopback(host: str) -> bool:
    """Whether a host, by name or by number, is this machine: what is sent there is on no network."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _no_passphrase() -> str:
    raise ValueError("it is encrypted; allowed: a key without a passphrase")


def read_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """A certificate (with the chain up to its authority) and the private key that belongs to it."""
    pair = _read(certificate), _read(key)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, _no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise OSError(f"the key in {key} does not belong to the certificate in {certificate}") from None
        raise OSError(f"{certificate} and {key} are not a certificate and its key in PEM: {error}") from None
    except ValueError as error:
        raise OSError(f"the key in {key} cannot be read: {error}") from None
    return pair


def read_authorities(path: Path) -> bytes:
    """Certificates of the authorities that are trusted."""
    found = _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise OSError(f"{path} has no certificates in PEM: {error}") from None
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class Tls:
    """What a server shows, and whom it takes: with ``client_ca`` only clients with a certificate of that authority.

    Raises OSError where a file is missing or unfit.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        read_pair(self.certificate, self.key)
        if self.client_ca is not None:
            read_authorities(self.client_ca)

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC."""
        pair = self.key.read_bytes(), self.certificate.read_bytes()
        authorities = self.client_ca.read_bytes() if self.client_ca else None
        return grpc.ssl_server_credentials([pair], authorities, require_client_auth=authorities is not None)

    def context(self) -> ssl.SSLContext:
        """For HTTP: TLS 1.2 or 1.3."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
