"""What a failure of SQL Server or Azure SQL means, told from the driver's words.

The driver hands on the words of the server and no numbers; the numbers below are Microsoft's:
of its list of transient faults, of its limits (10928, 10929) and of lost connections.
https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
"""

from __future__ import annotations

import re

from storecast.adapters.sources.servers import Server, ambiguous
from storecast.errors import Code, SourceError

BUSY_FOR = 60.0
"""Seconds for which a service that says it is busy is asked again."""
UNKNOWN_FOR = 10.0
"""The same for a database that cannot be opened: resumed or copied just now, or misspelt."""

_BUSY = (
    "The service has encountered an error processing your request",  # 40197, 40143, 40540, 40166
    "The service is currently busy",  # 40501, 49918
    "is not currently available",  # 40613
    "Not enough resources to process request",  # 49918
    "Too many create or update operations in progress",  # 49919
    "Too many operations in progress for subscription",  # 49920
    "and has been reached",  # 10928
    "the server is currently too busy to support requests",  # 10929
    "Login to read-secondary failed due to long wait",  # 4221
    "Can not connect to the SQL pool since it is paused",  # 42108
    "The SQL pool is warming up",  # 42109
    "Could not find database ID",  # 615
    "It has been marked SUSPECT by recovery",  # 926
)
_CANNOT_OPEN = "Cannot open database"  # 4060
# 10053, 10054, 10060, 64, 233, and what Linux and macOS call them
_TRANSPORT = re.compile(
    r"Error code 0x(2745|2746|274C|40|E9|67|68|6E|20|36|3C)\b|transport-level error"
    r"|error was encountered during handshakes before login|forcibly closed|Connection reset",
    re.IGNORECASE,
)
_BROKEN = re.compile(
    r"Communication link failure|Connection not open|TCP Provider|SSL Provider|Named Pipes"
    r"|connection is broken|[Cc]onnection (is|was) (already )?closed|transport-level error"
    r"|Connection failure|link failure|[Uu]nexpected EOF|semaphore timeout",
)
# Somebody's will (596, 6005, 17892) or a fault: in no list of what passes by itself.
_ENDED = re.compile(
    r"session is in the kill state|SHUTDOWN is in progress|Protocol error in TDS stream"
)
_GAVE_WAY = re.compile(
    r"deadlocked on|deadlock victim"  # 1205
    r"|Lock request time out period exceeded"  # 1222
    r"|Snapshot isolation transaction aborted"  # 3960, 3961
)
_CERTIFICATE = re.compile(
    r"certificate verify failed|certificate chain|self.signed|target principal name"
    r"|subject name does not match|certificate has expired|unable to get local issuer",
    re.IGNORECASE,
)
_NO_TLS = re.compile(r"[Ee]ncryption (is )?not supported|does not support encryption")
_FIREWALL = re.compile(r"is not allowed to access the server|virtual network rule", re.IGNORECASE)
_LOGIN = re.compile(
    r"Login failed|[Tt]he login failed|Invalid authorization|AADSTS|authenticat|access token",
)
_NO_LIBRARY = "Failed to load the driver"
SNAPSHOT_REFUSED = "Snapshot isolation transaction failed accessing database"
"""3952: another database that a query names has no snapshots."""


class Transient(Exception):
    """A failure that may pass; ``final`` is what it means if it does not.

    ``patience`` says for how many seconds after the first try it is worth trying again.
    """

    def __init__(self, final: SourceError, patience: float) -> None:
        super().__init__(str(final))
        self.final = final
        self.patience = patience


def connecting(server: Server, text: str) -> SourceError | Transient:
    """What it means that a connection was not made."""
    if _NO_LIBRARY in text:
        return _library_missing()
    if _CERTIFICATE.search(text):
        return server.certificate_invalid(text)
    if _NO_TLS.search(text):
        return server.unreachable(
            text, "turn encryption on at the server; in a network that you trust, encrypt: false"
        )
    if _FIREWALL.search(text):
        return server.unreachable(text, "let this machine's address through the server's firewall")
    if _CANNOT_OPEN in text:
        step = "check source.database, and that source.user may use it"
        return Transient(server.unreachable(text, step), UNKNOWN_FOR)
    if any(sign in text for sign in _BUSY):
        return Transient(server.unreachable(text, "try again later"), BUSY_FOR)
    if _LOGIN.search(text):
        return server.login_failed(text)
    if _TRANSPORT.search(text):
        return Transient(server.unreachable(text), server.login_timeout)
    return server.unreachable(text)


def reading(server: Server, text: str, where: str) -> SourceError | Transient:
    """What it means that a statement failed before its first rows came."""
    if _ENDED.search(text):
        return server.interrupted(text, where)
    if _GAVE_WAY.search(text):
        return server.gave_way(text, where)
    if any(sign in text for sign in _BUSY):
        return Transient(server.interrupted(text, where), BUSY_FOR)
    if _BROKEN.search(text) or _TRANSPORT.search(text):
        return Transient(server.interrupted(text, where), server.login_timeout)
    if "was specified multiple times" in text or "Ambiguous column name" in text:
        return ambiguous(where, server.scrubbed(text))
    if "permission was denied" in text:
        return server.forbidden(text, where)
    return server.query_failed(text, where)


def midway(server: Server, text: str, where: str) -> SourceError:
    """What it means that a stream of rows broke off: nothing is tried again."""
    found = reading(server, text, where)
    return found.final if isinstance(found, Transient) else found


def _library_missing() -> SourceError:
    return SourceError(
        Code.EXTRA_MISSING,
        "the driver of SQL Server does not find a library of the system",
        where="source.type",
        expected="libltdl and Kerberos",
        next_step="apt-get install libltdl7 libkrb5-3 libgssapi-krb5-2; dnf install "
        "libtool-ltdl krb5-libs; on macOS brew install openssl",
    )
