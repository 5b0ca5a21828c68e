"""The one composition root: which adapters a platform and a source type have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storecast.errors import NotServedError

if TYPE_CHECKING:
    from storecast.config import Config
    from storecast.ports import Engine, Source
    from storecast.project import Project


def assemble(config: Config, root: Path) -> Project:
    """Put a project together on its platform."""
    from storecast.project import Project

    if config.platform != "local":
        raise NotServedError.of(f"platform {config.platform}", "platform")
    from storecast.adapters.local.compute import LocalCompute
    from storecast.adapters.local.tables import LocalTables

    return Project(
        config=config,
        root=root,
        tables=LocalTables(
            root / "lakehouse" / config.catalog / config.schema_, config.tables.retention_days
        ),
        compute=LocalCompute(),
        specs=config.specs(),
    )


def open_source(config: Config, root: Path) -> Source:
    """The configured source, not yet connected; a relative path starts at the project folder."""
    path = root / str(config.source.path)
    if config.source.type == "sqlite":
        from storecast.adapters.sources.sqlite import SqliteSource

        return SqliteSource(path)
    if config.source.type == "files":
        from storecast.adapters.sources.files import FilesSource

        return FilesSource(path)
    if config.source.type == "table":
        from storecast.adapters.sources.table import TableSource

        return TableSource(root, config.catalog, config.schema_)
    return _of_a_server(config)


def _of_a_server(config: Config) -> Source:
    from storecast.adapters.sources.servers import Server

    source = config.source
    server = Server(
        host=str(source.host),
        port=source.port,
        database=str(source.database),
        user=source.user,
        password=source.password.get_secret_value() if source.password is not None else None,
        auth=source.auth,
        encrypt=source.encrypt,
        trust_certificate=source.trust_server_certificate,
    )
    if source.type == "postgresql":
        from storecast.adapters.sources.postgresql import PostgresqlSource

        return PostgresqlSource(server)
    from storecast.adapters.sources.mssql import MssqlSource

    return MssqlSource(server)


def open_engine(scratch: Path) -> Engine:
    """Open the SQL engine of a run.

    Args:
        scratch: a folder of the run's own, where rows lie that do not fit in memory.
    """
    from storecast.adapters.local.engine import DuckDbEngine

    return DuckDbEngine(scratch)
