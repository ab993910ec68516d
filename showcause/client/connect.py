"""How both clients connect: in plain text on this machine, over TLS elsewhere, with or without a token."""

from pathlib import Path

import grpc

from showcause.client.calls import CHANNEL_OPTIONS
from showcause.errors import InvalidArgument
from showcause.tls import is_loopback, read_authorities, read_pair

LOCAL_SCHEMES, SCHEMES = ("unix", "unix-abstract", "vsock"), ("dns", "ipv4", "ipv6")


def credentials(
    address: str,
    token: str | None,
    ca: str | Path | None,
    certificate: str | Path | None,
    key: str | Path | None,
    tls: bool | None,
) -> grpc.ChannelCredentials | None:
    """What the channel is made with, None for plain text; see ``Client``.

    Raises InvalidArgument for what does not go together, and OSError for files that are missing or unfit.
    """
    if (certificate is None) != (key is None):
        given, missing = ("certificate", "key") if key is None else ("key", "certificate")
        raise InvalidArgument("PARAMETER_OUT_OF_RANGE", f"a {given} needs its {missing}", field=missing)
    if tls is None:
        tls = ca is not None or certificate is not None
        if token and not tls and not is_local(address):
            # Whoever reads it on the way could ask in the caller's name until it is withdrawn.
            raise InvalidArgument(
                "PARAMETER_OUT_OF_RANGE",
                f"it would go to {address} in plain text",
                field="token",
                allowed="with ca=FILE, the authority of the server's certificate; tls=True for a public authority; or "
                "tls=False where the network itself is trusted",
            )
    if not tls:
        return None
    authorities = None if ca is None else read_authorities(Path(ca))
    pair = (None, None) if certificate is None or key is None else read_pair(Path(certificate), Path(key))
    return grpc.ssl_channel_credentials(authorities, pair[1], pair[0])


def authorization(token: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata that a token travels in; raises InvalidArgument for what no header can carry."""
    if token is None:
        return ()
    if not token.isascii() or not token.isprintable() or not token.strip():
        raise InvalidArgument("PARAMETER_OUT_OF_RANGE", "no token", field="token", allowed="printable ASCII")
    return (("authorization", f"Bearer {token.strip()}"),)


def options(address: str) -> list[tuple[str, object]]:
    """The channel's. What is for this machine goes past a proxy that the environment names."""
    return [*CHANNEL_OPTIONS, *[("grpc.enable_http_proxy", 0)] * is_local(address)]


def is_local(address: str) -> bool:
    """Whether a gRPC address ("host:port", "ipv4:127.0.0.1:50051", "dns:///localhost:50051") stays on this machine."""
    scheme, _, rest = address.partition(":")
    if scheme in LOCAL_SCHEMES:
        return True
    if scheme in SCHEMES:
        address = rest.rsplit("/", maxsplit=1)[-1]
    return all(is_loopback(_host(each)) for each in address.split(","))


def _host(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
