"""A project: a configuration and the platform that it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from storecast.config import Config
from storecast.configfile import FILE_NAME, load_config
from storecast.core.schema import TableSpec

if TYPE_CHECKING:
    from storecast.ports import Compute, Engine, Source, TableStore


@dataclass(frozen=True)
class Project:
    """What every step is given.

    Attributes:
        config: the validated configuration.
        root: the project folder, absolute.
        tables: the Delta tables of ``catalog.schema``.
        compute: where independent tasks run.
    """

    config: Config
    root: Path
    tables: TableStore
    compute: Compute
    specs: dict[str, TableSpec] = field(repr=False)

    def open_source(self) -> Source:
        """Open the user's database or folder; the caller closes it."""
        from storecast.platforms import open_source

        return open_source(self.config, self.root)

    def open_engine(self, run_id: str) -> Engine:
        """The SQL engine of a run, which ends with it; the caller closes it."""
        from storecast.platforms import open_engine

        return open_engine(self.scratch() / run_id)

    @property
    def reports(self) -> Path:
        """Where reports are written."""
        return self.root / "reports"

    def scratch(self) -> Path:
        """A folder for what a run needs while it runs; made if missing."""
        folder = self.root / ".storecast" / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def finished_tasks(self) -> Path:
        """The folder of a backtest's finished tasks, which may be removed at any time."""
        return self.root / ".storecast" / "tasks"

    @property
    def finished_trials(self) -> Path:
        """The folder of a tuning's finished trials, which may be removed at any time."""
        return self.root / ".storecast" / "trials"

    @property
    def lock_file(self) -> Path:
        """The file that one writing command holds at a time."""
        folder = self.root / ".storecast"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "lock"


def load(path: str | Path = FILE_NAME, overrides: Sequence[str] = ()) -> Project:
    """Load a project from ``storecast.yaml`` or from the folder that holds it.

    Raises:
        ConfigurationError: CONFIG_NOT_FOUND, CONFIG_INVALID, NOT_SERVED, …
    """
    from storecast.platforms import assemble

    file = Path(path)
    if file.is_dir():
        file = file / FILE_NAME
    config = load_config(file, overrides)
    return assemble(config, file.resolve().parent)
