"""Just enough of HTTP/2 (RFC 9113) to break it: frames, and headers without compression (RFC 7541, section 6.2.2)."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """length: what the frame declares, where it is to lie."""
    declared = len(payload) if length is None else length
    return struct.pack(">I", declared)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header_block(pairs: list[tuple[str, str]]) -> bytes:
    """Literal fields, never compressed; names and values of up to 126 bytes."""
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in pairs
    )


def grpc_headers(path: str) -> bytes:
    """The header block of a gRPC call."""
    return header_block(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "127.0.0.1"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
    )


def grpc_message(data: bytes, length: int | None = None, compressed: int = 0) -> bytes:
    """A message as gRPC frames it: a flag and a length before the bytes."""
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


def opening(path: str, stream: int = 1) -> bytes:
    """All that comes before the first message of a call, on a fresh connection."""
    return PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, stream, grpc_headers(path))
