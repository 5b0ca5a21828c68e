"""A database server: where it is, who asks, and what may be said of it in a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from storecast.core.written import HIDDEN_FROM
from storecast.errors import Code, SourceError

LOGIN_TIMEOUT = 15
"""Seconds in which a server must have let us in."""


@dataclass(frozen=True)
class Server:
    """Address and credentials; the password is in no repr.

    ``auth`` is one of password, entra_service_principal, entra_managed_identity.
    """

    host: str
    database: str
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    auth: str = "password"
    encrypt: bool = True
    trust_certificate: bool = False
    login_timeout: int = LOGIN_TIMEOUT

    def __str__(self) -> str:
        """``host:port/database``, for messages."""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.host}{port}/{self.database}"

    def scrubbed(self, text: str) -> str:
        """A driver's words in one line, without the password in any way that it may be written.

        One of fewer than ``HIDDEN_FROM`` letters stays: asterisks all over a message would say
        what it is, and leave nothing to read.
        """
        line = " ".join(text.split())
        if self.password and len(self.password) >= HIDDEN_FROM:
            braced = self.password.replace("}", "}}")
            for secret in (braced, self.password, quote(self.password, safe="")):
                line = line.replace(secret, "***")
        return line

    # ------------------------------------------------------------------ what can be wrong

    def unreachable(self, found: str, next_step: str | None = None) -> SourceError:
        """SOURCE_UNREACHABLE."""
        return SourceError(
            Code.SOURCE_UNREACHABLE,
            f"the database {self.database} on {self.host} cannot be opened",
            where=str(self),
            expected=f"a server that answers within {self.login_timeout} seconds",
            found=self.scrubbed(found),
            next_step=next_step
            or "check source.host, source.port and source.database, the "
            "network and the server's firewall",
        )

    def login_failed(self, found: str) -> SourceError:
        """SOURCE_LOGIN_FAILED."""
        return SourceError(
            Code.SOURCE_LOGIN_FAILED,
            f"{self.host} refused the login of {self.user or 'this machine'}",
            where=str(self),
            expected="a user that may read the tables",
            found=self.scrubbed(found),
            next_step=_LOGIN_STEPS[self.auth],
        )

    def certificate_invalid(self, found: str) -> SourceError:
        """SOURCE_CERTIFICATE_INVALID."""
        return SourceError(
            Code.SOURCE_CERTIFICATE_INVALID,
            f"the certificate of {self.host} is not trusted",
            where=str(self),
            expected=f"a certificate for {self.host} from an authority that this machine trusts",
            found=self.scrubbed(found),
            next_step="write source.host as the certificate has it, or make its authority known "
            "to this machine; in a network that you trust, trust_server_certificate: true",
        )

    def interrupted(self, found: str, where: str) -> SourceError:
        """SOURCE_INTERRUPTED."""
        return SourceError(
            Code.SOURCE_INTERRUPTED,
            f"the connection to {self.host} broke while {where} was read",
            where=where,
            expected="every row, to the last",
            found=self.scrubbed(found),
            next_step="nothing was written: run the command again",
        )

    def gave_way(self, found: str, where: str) -> SourceError:
        """SOURCE_INTERRUPTED by another transaction: a deadlock, a lock held, changed rows."""
        return SourceError(
            Code.SOURCE_INTERRUPTED,
            f"{self.host} broke off the reading of {where} for another transaction",
            where=where,
            expected="every row, to the last",
            found=self.scrubbed(found),
            next_step="nothing was written: run the command again, when less is written there if "
            "it happens often",
        )

    def query_failed(self, found: str, where: str) -> SourceError:
        """SOURCE_QUERY_FAILED."""
        return SourceError(
            Code.SOURCE_QUERY_FAILED,
            f"{self.host} refused to read {where}",
            where=where,
            found=self.scrubbed(found),
            next_step="correct the `from` or `query` in storecast.yaml",
        )

    def forbidden(self, found: str, where: str) -> SourceError:
        """SOURCE_QUERY_FAILED for want of a permission."""
        return SourceError(
            Code.SOURCE_QUERY_FAILED,
            f"{self.user or 'this machine'} may not read {where}",
            where=where,
            expected="the permission SELECT",
            found=self.scrubbed(found),
            next_step=f"GRANT SELECT ON {where} to {self.user or 'the identity'}",
        )


_LOGIN_STEPS = {
    "password": "check source.user and source.password, and that the user may use the database",
    "entra_service_principal": "source.user is the application's client id, source.password its "
    "secret; CREATE USER … FROM EXTERNAL PROVIDER lets it into the database",
    "entra_managed_identity": "give this machine a managed identity, in source.user its client id "
    "where it has several; CREATE USER … FROM EXTERNAL PROVIDER lets it into the database",
}


def extra_missing(type_name: str, package: str) -> SourceError:
    """EXTRA_MISSING, with the command that installs it."""
    return SourceError(
        Code.EXTRA_MISSING,
        f"source.type {type_name} needs the package {package}, which is not installed",
        where="source.type",
        expected=package,
        next_step=f'pip install "storecast[{type_name}]"',
    )


def ambiguous(where: str, found: str, names: Sequence[str] = ()) -> SourceError:
    """SOURCE_COLUMN_AMBIGUOUS."""
    which = f" named {', '.join(map(repr, names))}" if names else " of one name"
    return SourceError(
        Code.SOURCE_COLUMN_AMBIGUOUS,
        f"{where} has two columns{which}",
        where=where,
        expected="one column of each name",
        found=found,
        next_step="name each column once, with AS in the query",
    )
