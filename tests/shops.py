"""The least configuration of a project over one SQLite table, and changes to it by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def configure(root: Path, **changes: Any) -> None:
    """Write ``storecast.yaml``; ``forecast__horizon=8`` sets ``forecast.horizon``."""
    raw: dict[str, Any] = {
        "project": "lojas",
        "source": {
            "type": "sqlite",
            "path": "vendas.db",
            "sales": {
                "from": "vendas",
                "primary_key": ["id"],
                "columns": {"store_id": "loja", "date": "dia", "sales": "valor"},
            },
        },
        "series": {"frequency": "W-SUN"},
        "forecast": {"horizon": 4, "quantiles": [0.1, 0.5, 0.9]},
        "validation": {"windows": 4, "step": 4, "warmup": 2},
        "models": ["seasonal_naive", "local_level"],
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = raw
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    (root / "storecast.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), "utf-8")
