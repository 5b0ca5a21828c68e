"""As much of a TDS server as shows what the SQL Server driver does with what a server may answer.

It speaks TLS with a certificate of its own making, logs in whoever comes (or refuses them), and
answers statements by pattern: with rows, with an error, or by hanging up. [MS-TDS] is public.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

_COLLATION = bytes((0x09, 0x04, 0xD0, 0x00, 0x34))  # SQL_Latin1_General_CP1_CI_AS
_PACKET = 4096


# ---------------------------------------------------------------------- what it answers


@dataclass(frozen=True)
class Fault:
    """An error of the server."""

    number: int
    message: str
    severity: int = 16


@dataclass(frozen=True)
class Hangup:
    """The connection is reset."""


@dataclass(frozen=True)
class Rows:
    """A result: columns by name and type, and rows; hangs up behind them where ``then`` says."""

    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]] = ()
    then: Fault | Hangup | None = None


Answer = Rows | Fault | Hangup | None


@dataclass
class Server:
    """Listens on a port of its own until it is closed.

    Attributes:
        certificate: of TLS, and its key, in one file.
        logins: what the first logins get, in order; None lets in, as do all after them.
        answers: by pattern, the first that fits a statement; a function is asked each time.
        heard: every statement that came.
    """

    certificate: Path
    logins: list[Answer] = field(default_factory=list)
    answers: list[tuple[str, Answer | Callable[[], Answer]]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                talk = _Talk(connection, self.certificate)
                login = self.logins.pop(0) if self.logins else None
                talk.receive()
                if login is not None:
                    talk.answer(login)
                    return
                talk.send(_LET_IN)
                while True:
                    self._reply(talk, *talk.receive())
            except (OSError, EOFError, ssl.SSLError):
                return

    def _reply(self, talk: _Talk, kind: int, payload: bytes) -> None:
        if kind == 6:  # attention: the client has had enough
            talk.send(_done(0x20))
            return
        if kind == 14:  # begins or ends a transaction
            begins = payload[22:24] == b"\x05\0"
            descriptor = bytes((8,)) + bytes(range(1, 9))
            talk.send((_change(8, descriptor + b"\0") if begins else
                       _change(10, b"\0" + descriptor)) + _done(0))  # fmt: skip
            return
        # A parameter's text may begin at an odd byte.
        text = "".join(payload[start:].decode("utf-16-le", "ignore") for start in (0, 1))
        self.heard.append(text)
        for pattern, answer in self.answers:
            if re.search(pattern, text):
                talk.answer(answer() if callable(answer) else answer, rpc=kind == 3)
                return
        talk.answer(None, rpc=kind == 3)


class _Talk:
    """One connection: packets within TLS, which begins within packets."""

    def __init__(self, connection: socket.socket, certificate: Path) -> None:
        self._socket = connection
        self._tls: ssl.SSLObject | None = None
        self._received = b""
        self.receive()
        self.send(_PRELOGIN)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_handshake()
                self._incoming.write(self.receive()[1])
            else:
                break
        self._send_handshake()
        self._tls = tls

    def _send_handshake(self) -> None:
        if self._outgoing.pending:
            self.send(self._outgoing.read(), kind=0x12)

    def _read(self, n: int) -> bytes:
        while len(self._received) < n:
            if self._tls is None:
                more = self._socket.recv(65_536)
            else:
                try:
                    more = self._tls.read(65_536)
                except ssl.SSLWantReadError:
                    arrived = self._socket.recv(65_536)
                    if not arrived:
                        raise EOFError from None
                    self._incoming.write(arrived)
                    continue
            if not more:
                raise EOFError
            self._received += more
        taken, self._received = self._received[:n], self._received[n:]
        return taken

    def receive(self) -> tuple[int, bytes]:
        """A message: its type and what the packets hold."""
        payload = b""
        while True:
            kind, status, length = struct.unpack(">BBH", self._read(8)[:4])
            payload += self._read(length - 8)
            if status & 1:
                return kind, payload

    def send(self, payload: bytes, kind: int = 4, *, whole: bool = True) -> None:
        """A message in packets; the last does not say that it is the last unless ``whole``."""
        parts = [payload[i : i + _PACKET - 8] for i in range(0, len(payload), _PACKET - 8)]
        for number, part in enumerate(parts, 1):
            last = whole and number == len(parts)
            header = struct.pack(">BBHHBB", kind, int(last), len(part) + 8, 0, number % 256, 0)
            if self._tls is None:
                self._socket.sendall(header + part)
            else:
                self._tls.write(header + part)
                self._socket.sendall(self._outgoing.read())

    def answer(self, answer: Answer, *, rpc: bool = False) -> None:
        if isinstance(answer, Hangup):
            self._hang_up()
        if isinstance(answer, Fault):
            self.send(_error(answer) + _done(0x2))
            return
        if not isinstance(answer, Rows):
            self.send(_done(0))
            return
        kinds = [kind for _, kind in answer.columns]
        rows = (
            b"\xd1" + b"".join(_value(k, v) for k, v in zip(kinds, row, strict=True))
            for row in answer.rows
        )
        payload = _metadata(answer.columns) + b"".join(rows)
        if isinstance(answer.then, Hangup):
            # Closed, not reset: what was sent arrives.
            self.send(payload, whole=False)
            raise EOFError  # noqa: TRY004 - ends the conversation, as an end of the stream does
        if isinstance(answer.then, Fault):
            self.send(payload + _error(answer.then) + _done(0x2))
            return
        end = _done(0x11, len(answer.rows), 0xFF) + b"\x79" + bytes(4) if rpc else b""
        self.send(payload + end + _done(0x10, len(answer.rows), 0xFE if rpc else 0xFD))

    def _hang_up(self) -> None:
        reset = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self._socket.close()
        raise EOFError


# ---------------------------------------------------------------------- its tokens


def _prelogin() -> bytes:
    options = [(0, bytes((16, 0, 0, 0, 0, 0))), (1, b"\x01"), (2, b"\0"), (3, b""), (4, b"\0")]
    offset, table, values = 5 * len(options) + 1, b"", b""
    for number, value in options:
        table += struct.pack(">BHH", number, offset + len(values), len(value))
        values += value
    return table + b"\xff" + values


def _text(text: str, length: str = "B") -> bytes:
    return struct.pack(f"<{length}", len(text)) + text.encode("utf-16-le")


def _change(kind: int, value: bytes) -> bytes:
    return b"\xe3" + struct.pack("<HB", len(value) + 1, kind) + value


def _done(status: int, rows: int = 0, token: int = 0xFD) -> bytes:
    return struct.pack("<BHHQ", token, status, 0xC1, rows)


def _error(fault: Fault) -> bytes:
    body = struct.pack("<IBB", fault.number, 1, fault.severity)
    body += _text(fault.message, "H") + _text("test") + _text("") + struct.pack("<I", 1)
    return b"\xaa" + struct.pack("<H", len(body)) + body


def _let_in() -> bytes:
    ack = b"\x01\x74\x00\x00\x04" + _text("Microsoft SQL Server") + bytes((16, 0, 0, 0))
    return (
        _change(1, _text("vendas") + _text("master"))
        + _change(7, bytes((5,)) + _COLLATION + b"\0")
        + _change(2, _text("us_english") + _text(""))
        + b"\xad" + struct.pack("<H", len(ack)) + ack
        + _change(4, _text(str(_PACKET)) + _text(str(_PACKET)))
        + _done(0)
    )  # fmt: skip


_PRELOGIN, _LET_IN = _prelogin(), _let_in()


def _metadata(columns: Sequence[tuple[str, str]]) -> bytes:
    body = b"\x81" + struct.pack("<H", len(columns))
    for name, kind in columns:
        body += struct.pack("<IH", 0, 0x0009) + _type(kind) + _text(name)
    return body


def _type(kind: str) -> bytes:
    base, numbers = _parts(kind)
    size = numbers[0] if numbers else 0
    texts = {"nvarchar": (0xE7, 2), "nchar": (0xEF, 2), "varchar": (0xA7, 1), "char": (0xAF, 1)}
    if base in texts:
        token, width = texts[base]
        return struct.pack("<BH", token, size * width) + _COLLATION
    if base == "decimal":
        return bytes((0x6A, 17, *numbers))
    scaled = {"datetime2": 0x2A, "datetimeoffset": 0x2B}
    if base in scaled:
        return bytes((scaled[base], size))
    if base == "binary":
        return struct.pack("<BH", 0xAD, size)
    fixed = {"tinyint": (0x26, 1), "smallint": (0x26, 2), "int": (0x26, 4), "bigint": (0x26, 8),
             "bit": (0x68, 1), "float": (0x6D, 8), "real": (0x6D, 4), "money": (0x6E, 8),
             "datetime": (0x6F, 8), "uniqueidentifier": (0x24, 16), "date": (0x28,)}  # fmt: skip
    return bytes(fixed[base])


def _parts(kind: str) -> tuple[str, list[int]]:
    base, _, rest = kind.partition("(")
    return base, [int(n) for n in rest.rstrip(")").split(",") if n]


def _value(kind: str, value: Any) -> bytes:
    base, numbers = _parts(kind)
    if base in ("nvarchar", "nchar", "varchar", "char", "binary"):
        if value is None:
            return b"\xff\xff"
        if base in ("nchar", "char"):
            value = value.ljust(numbers[0])
        encoded = value if base == "binary" else value.encode(
            "utf-16-le" if base.startswith("n") else "cp1252"
        )  # fmt: skip
        return struct.pack("<H", len(encoded)) + encoded
    if value is None:
        return b"\0"
    encoded = _fixed(base, numbers, value)
    return bytes((len(encoded),)) + encoded


def _fixed(base: str, numbers: list[int], value: Any) -> bytes:
    if base in ("tinyint", "bit"):
        return bytes((int(value),))
    formats = {"smallint": "<h", "int": "<i", "bigint": "<q", "float": "<d", "real": "<f"}
    if base in formats:
        return struct.pack(formats[base], value)
    if base == "decimal":
        whole = int(Decimal(value).scaleb(numbers[1]))
        return bytes((int(whole >= 0),)) + abs(whole).to_bytes(16, "little")
    if base == "money":
        units = int(Decimal(value).scaleb(4))
        return struct.pack("<iI", units >> 32, units & 0xFFFFFFFF)
    if base == "uniqueidentifier":
        return uuid.UUID(value).bytes_le
    if base == "datetime":
        since = value - datetime(1900, 1, 1)
        return struct.pack("<iI", since.days, round(since.seconds * 300))
    if base == "date":
        return (value.toordinal() - 1).to_bytes(3, "little")
    return _moment(base, numbers[0], value)


def _moment(base: str, scale: int, value: tuple[datetime, int]) -> bytes:
    """A moment and its tenths of microseconds beyond; datetimeoffset keeps UTC and the offset."""
    moment, finer = value
    offset = (moment.utcoffset() or timedelta()) // timedelta(minutes=1)
    utc = moment.astimezone(UTC) if moment.tzinfo is not None else moment
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    ticks = (utc - midnight) // timedelta(microseconds=1) * 10 + finer
    ticks //= 10 ** (7 - scale)
    width = 3 if scale <= 2 else 4 if scale <= 4 else 5
    day = (date(utc.year, utc.month, utc.day).toordinal() - 1).to_bytes(3, "little")
    tail = struct.pack("<h", offset) if base == "datetimeoffset" else b""
    return ticks.to_bytes(width, "little") + day + tail


def certificate(folder: Path, host: str = "localhost") -> Path:
    """A certificate that signs itself, and its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path
