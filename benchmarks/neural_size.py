"""How large a network the demo's data calls for: WAPE by gradient steps and by width.

Each size is taught from scratch at each cutoff on the past alone, without a search for the number
of steps, and forecasts the whole horizon. Steps double at the width that is the default, then
widths at the most steps. Printed: the curve, and the smallest size whose WAPE falls by less than
1% when it is doubled, and again, or that none was reached.

`python benchmarks/neural_size.py [--models nbeats,tft] [--cutoffs 3] [--steps 50,100,200,400]
[--widths 32,64,128] [--project FOLDER]`
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import polars as pl

from storecast import runs
from storecast.adapters.local.compute import LocalCompute
from storecast.backtest.tasks import MODEL, backtest
from storecast.core.panel import History
from storecast.core.window import cutoffs
from storecast.history import load_history
from storecast.models.base import Recipe
from storecast.project import load

ENOUGH = 0.01
WIDTH = {"nbeats": "layer_widths", "tft": "hidden_size"}


def demo(folder: Path) -> tuple[History, list]:
    """The demo's history, and its cutoffs."""
    if not (folder / "storecast.yaml").exists():
        start = [sys.executable, "-m", "storecast.cli"]
        subprocess.run([*start, "init", str(folder), "--demo", "iowa"], check=True)
        subprocess.run([*start, "ingest", "--project", str(folder)], check=True)
    project = load(folder)
    with runs.begin(project, "validate") as run:
        history = load_history(run, project)
    wanted = project.config.validation
    days = cutoffs(
        history.rules,
        history.through,
        history.rules.horizon,
        wanted.windows,
        wanted.step,
        history.sales["date"].min(),
    )
    return history, days


def curve(history: History, days: list, sizes: dict[str, Recipe]) -> dict[str, float]:
    """WAPE of each size, by its name, over all cutoffs."""
    missed = dict.fromkeys(sizes, 0.0)
    sold = dict.fromkeys(sizes, 0.0)
    horizon = history.rules.horizon
    for outcome in backtest(history, list(sizes.values()), days, horizon, LocalCompute()):
        scored = outcome.frame.filter(
            (pl.col("segment") == "headline") & pl.col("sales").is_not_null()
        )
        if (scored["origin"] != MODEL).any():
            raise SystemExit(f"{outcome.recipe.name}: {outcome.failure}")
        missed[outcome.recipe.name] += (scored["sales"] - scored["forecast"]).abs().sum()
        sold[outcome.recipe.name] += scored["sales"].abs().sum()
    return {name: missed[name] / sold[name] for name in sizes}


def told(label: str, sizes: list[int], wapes: list[float]) -> None:
    """Print one curve and where it flattens: from where on no doubling gains enough."""
    gains = [1 - after / before for before, after in pairwise(wapes)]
    for i, (size, wape) in enumerate(zip(sizes, wapes, strict=True)):
        gain = f"   {gains[i - 1]:+.1%} by doubling" if i else ""
        print(f"  {label:>12} {size:>5}   WAPE {wape:.4f}{gain}")
    flat = [size for i, size in enumerate(sizes[:-1]) if max(gains[i:]) < ENOUGH]
    print(
        f"  smallest {label} from which no doubling gains {ENOUGH:.0%}: "
        f"{flat[0] if flat else f'none up to {sizes[-1]}'}"
    )


def main() -> None:
    """Print each model's curves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="nbeats,tft")
    parser.add_argument("--cutoffs", type=int, default=3)
    parser.add_argument("--steps", default="50,100,200,400")
    parser.add_argument("--widths", default="")
    parser.add_argument("--project", type=Path)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        history, days = demo(wanted.project or Path(scratch, "demo"))
        places = [round(i * (len(days) - 1) / max(wanted.cutoffs - 1, 1)) for i in
                  range(wanted.cutoffs)]  # fmt: skip
        days = [days[i] for i in sorted(set(places))]
        steps = [int(v) for v in wanted.steps.split(",")]
        widths = [int(v) for v in wanted.widths.split(",") if v]
        for kind in wanted.models.split(","):
            sizes = {f"steps_{n}": {"max_steps": n} for n in steps}
            sizes |= {f"width_{w}": {"max_steps": steps[-1], WIDTH[kind]: w} for w in widths}
            recipes = {
                name: Recipe(name, kind, {**parameters, "patience": 0})
                for name, parameters in sizes.items()
            }
            started = time.perf_counter()
            wapes = curve(history, days, recipes)
            print(f"{kind}, cutoffs {', '.join(map(str, days))}, "
                  f"{time.perf_counter() - started:.0f} s")  # fmt: skip
            told("steps", steps, [wapes[f"steps_{n}"] for n in steps])
            if widths:
                told("width", widths, [wapes[f"width_{w}"] for w in widths])


if __name__ == "__main__":
    main()
