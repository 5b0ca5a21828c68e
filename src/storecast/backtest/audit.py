"""The leak audit: forecasts at a cutoff do not change with anything that came later.

An audit takes a *road*, a callable from a history to forecasts at a cutoff, walks it on the
history as it is, and again on histories in which everything past the cutoff is altered, and
deleted (``alteration``): the forecasts must be the same to the bit. Attributes without versions
that tell which stores have ended since (``hindsight``) count as such. The control: with the
season before the cutoff doubled they must change, or the road ignores the past, or the audit is
broken. Where something differs, each kind is tried alone, to say which one leaks.

Not altered, since the configuration says so: within the horizon, known covariates of which no
versions are kept (``Window.perfect_foresight``).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import polars as pl

from storecast.backtest.alteration import HOWS, KINDS, How, altered, doubled, of_stores
from storecast.backtest.hindsight import ended, forgotten, suspects
from storecast.backtest.road import Inline
from storecast.backtest.tasks import FILLED, read_history, write_history
from storecast.core.panel import lives

if TYPE_CHECKING:
    from storecast.core.panel import History
    from storecast.errors import StorecastError
    from storecast.ports import Compute

Walk = Callable[["History"], pl.DataFrame]
"""From a history to model, store_id, date, the forecast columns and, optional, origin."""

Status = Literal["passed", "leaking", "unmoved", "unrepeatable", "died", "unproven"]
ATTRIBUTES_OF_TODAY: Final = "attributes_of_today"
TOGETHER: Final = "several_together"
_SHORT: Final = 0.5
"""Seconds below which a walk is not worth a process."""
_KEYS: Final = ["model", "store_id", "date"]
_EVERY: Final = (ATTRIBUTES_OF_TODAY, *KINDS)
"""In the order in which several are changed: who ended is asked before closures are altered."""
_SAID: Final = {
    "openings_and_closures": "openings and closures",
    "attribute_versions": "versions of attributes",
    "covariates_recorded_later": "covariates recorded later",
    "covariates_beyond_ahead": "covariates beyond the time for which they are known",
    "realised_covariates": "realised covariates",
    "sales": "sales",
    "stores_born_later": "stores born later",
    ATTRIBUTES_OF_TODAY: "attributes of today",
    TOGETHER: "several things together",
}


@dataclass(frozen=True)
class Leak:
    """One kind of later information on which forecasts depend.

    Attributes:
        kind: a name of ``alteration.KINDS``, or ``attributes_of_today``.
        how: altered or deleted.
        stores: stores whose forecasts changed.
        example: one of them.
    """

    kind: str
    how: str
    stores: int
    example: str


@dataclass(frozen=True)
class Finding:
    """What the audit of one model at one cutoff found.

    Attributes:
        model: its name.
        cutoff: at which it was audited.
        stores: stores whose forecasts were compared.
        kinds: kinds of which there was something to alter.
        leaks: those on which forecasts depend.
        moved: whether the control changed a forecast; None where nothing could be doubled.
        repeated: whether the same history gives the same forecasts, asked where they differed.
        own: whether any forecast was the model's own, and not filled by the baseline.
        died: whether the process that it was walked in died.
    """

    model: str
    cutoff: date
    stores: int
    kinds: tuple[str, ...]
    leaks: tuple[Leak, ...]
    moved: bool | None
    repeated: bool
    own: bool
    died: bool = False

    @property
    def status(self) -> Status:
        """The worst that holds."""
        if self.died:
            return "died"
        if not self.repeated:
            return "unrepeatable"
        if self.leaks:
            return "leaking"
        if not self.own or not self.stores or self.moved is None:
            return "unproven"
        return "passed" if self.moved else "unmoved"


@dataclass(frozen=True)
class Verdict:
    """What the audit says of a model, over all its audited cutoffs.

    Attributes:
        status: passed; leaking; unmoved (nothing of the past matters); unrepeatable (the same
            tables give other forecasts); died (its process did, so nothing was found); unproven
            (no forecast of its own, or nothing sold).
        cutoffs: where it was audited, ISO dates.
        stores: the most stores compared at one of them.
        kinds: kinds of which there was something to alter.
        leaks: those on which its forecasts depend.
        key: follows from recipe, rules and code; "" where unknown. A verdict holds for its key.
    """

    status: Status
    cutoffs: tuple[str, ...]
    stores: int
    kinds: tuple[str, ...]
    leaks: tuple[Leak, ...] = ()
    key: str = ""

    @property
    def passed(self) -> bool:
        """Whether the model may be deployed."""
        return self.status == "passed"

    @property
    def failed(self) -> bool:
        """Whether the audit says no; neither where it could prove nothing."""
        return self.status in ("leaking", "unmoved", "unrepeatable")

    @classmethod
    def over(cls, findings: Sequence[Finding], key: str = "") -> Self:
        """The worst of one model's findings, at least one."""
        order: tuple[Status, ...] = (
            "leaking", "unrepeatable", "unmoved", "died", "unproven", "passed",
        )  # fmt: skip
        leaks = {(leak.kind, leak.how): leak for f in findings for leak in f.leaks}
        return cls(
            status=min((f.status for f in findings), key=order.index),
            cutoffs=tuple(sorted({f.cutoff.isoformat() for f in findings})),
            stores=max(f.stores for f in findings),
            kinds=tuple(k for k in _EVERY if any(k in f.kinds for f in findings)),
            leaks=tuple(leaks.values()),
            key=key,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values; ``from_dict`` gives an equal verdict back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from ``as_dict``, also after JSON."""
        tuples = {name: tuple(plain[name]) for name in ("cutoffs", "kinds")}
        leaks = tuple(Leak(**leak) for leak in plain["leaks"])
        return cls(**{**plain, **tuples, "leaks": leaks})

    def sentence(self) -> str:
        """What it means, without the model's name."""
        if self.status == "leaking":
            kinds = dict.fromkeys(leak.kind for leak in self.leaks)
            said = ", ".join(_SAID[kind] for kind in kinds)
            first = self.leaks[0]
            return (
                f"LEAKING: its forecasts depend on what came after the cutoff ({said}; "
                f"{first.stores} stores, for one {first.example!r})"
            )
        return {
            "passed": "no forecast depends on what came after the cutoff",
            "unmoved": "NOT PROVEN: its forecasts ignore the past, so that nothing can be said",
            "unrepeatable": "NOT PROVEN: the same tables give other forecasts",
            "died": "not audited: the process that it ran in died, twice",
            "unproven": "not proven: it made no forecast of its own, or nothing was sold",
        }[self.status]


def audit(
    road: Walk,
    history: History,
    cutoff: date,
    *,
    each: bool = False,
    attributes: tuple[str, ...] | None = None,
    compute: Compute | None = None,
    light: bool = False,
    foreign: Sequence[str] = (),
    scratch: Path | None = None,
) -> list[Finding]:
    """Audit the models of a road at a cutoff.

    Args:
        road: what is audited; with a ``compute`` of processes it has to pickle.
        history: what the tables say, uncut.
        cutoff: at which the road forecasts; it and ``through`` stay as they are.
        each: alter and delete each kind alone as well, not only where all together leak.
        attributes: those without versions that tell of today; None: as ``suspects`` finds them.
        compute: where the roads are walked; None: here.
        light: walk the first road here, and the others too if that took less time than the start
            of processes would.
        foreign: the names of the road's models, where another package has made them: no road is
            walked in this process then, and if one ends its own, that is a finding of each.
        scratch: for temporary files.

    Returns:
        a finding for each model, in the order of their names.
    """
    if attributes is None:
        attributes = suspects(history, cutoff)
    with tempfile.TemporaryDirectory(prefix="audit-", dir=scratch) as folder:
        write_history(history, Path(folder))

        known: dict[_Trial, _Walked] = {}

        def walked(trials: Iterable[_Trial]) -> dict[_Trial, _Walked]:
            tasks = [
                _Task(folder, road, cutoff, attributes, trial)
                for trial in trials
                if trial not in known
            ]
            ran = _ran_apart(tasks, compute) if foreign else _ran(tasks, compute, light=light)
            known.update((task.trial, result) for task, result in ran)
            return dict(known)

        try:
            if foreign:
                # what dies, dies once, and not in each of the walks
                walked([_AS_IT_IS])
            return _found(walked, cutoff, each=each)
        except _DiedError:
            return [_death(model, cutoff) for model in sorted(foreign)]
        finally:
            _read.cache_clear()


@dataclass(frozen=True)
class _Trial:
    """One walk: nothing changed, the control, or kinds altered or deleted."""

    what: Literal["as_it_is", "again", "season_doubled", "past_doubled", "later"]
    kinds: tuple[str, ...] = ()
    how: How = "altered"


@dataclass(frozen=True)
class _Task:
    folder: str
    road: Walk
    cutoff: date
    attributes: tuple[str, ...]
    trial: _Trial


@dataclass(frozen=True)
class _Walked:
    """Forecasts (None: there was nothing to change), and the kinds that there were."""

    frame: pl.DataFrame | None
    kinds: tuple[str, ...] = ()
    died: bool = False


class _DiedError(Exception):
    """A process died while it walked a road."""


_AS_IT_IS, _AGAIN = _Trial("as_it_is"), _Trial("again")
_SEASON, _PAST = _Trial("season_doubled"), _Trial("past_doubled")
_ALL: Final = tuple(_Trial("later", _EVERY, how) for how in HOWS)
_EACH: Final = tuple(_Trial("later", (kind,), how) for kind in _EVERY for how in HOWS)


@lru_cache(maxsize=1)
def _read(folder: str) -> History:
    return read_history(Path(folder))


def _walk(task: _Task) -> _Walked:
    history, trial = _read(task.folder), task.trial
    kinds: list[str] = []
    other = history
    if trial.what in ("season_doubled", "past_doubled"):
        other = doubled(history, task.cutoff, whole=trial.what == "past_doubled")
    for kind in trial.kinds:
        before = other
        other = _changed(other, task, kind)
        if not _same(before, other):
            kinds.append(kind)
    if trial.what not in ("as_it_is", "again") and _same(history, other):
        return _Walked(None)
    return _Walked(task.road(other), tuple(kinds))


def _changed(history: History, task: _Task, kind: str) -> History:
    if kind == ATTRIBUTES_OF_TODAY:
        return forgotten(history, task.cutoff, task.attributes, task.trial.how)
    return altered(history, task.cutoff, [kind], task.trial.how)


def _same(one: History, other: History) -> bool:
    names = (
        "sales", "stores", "store_versions", "covariates", "covariates_by_date",
        "covariate_versions",
    )  # fmt: skip
    for name in names:
        a, b = getattr(one, name), getattr(other, name)
        if a is b:
            continue
        if a is None or b is None or a.columns != b.columns or not a.equals(b):
            return False
    return True


def _ran(
    tasks: Sequence[_Task], compute: Compute | None, *, light: bool
) -> Iterator[tuple[_Task, _Walked]]:
    rest, took = list(tasks), 0.0
    if light:
        began = monotonic()
        first = rest.pop(0)
        yield first, _walk(first)
        took = monotonic() - began
    elsewhere = compute is not None and (not light or took > _SHORT)
    runner = compute if compute is not None and elsewhere else Inline()
    yield from runner.run_tasks(_walk, rest)


def _ran_apart(tasks: Sequence[_Task], compute: Compute | None) -> Iterator[tuple[_Task, _Walked]]:
    """As ``_ran``, none in this process. Raises _DiedError where a process died twice."""
    runner = compute or Inline()
    for task, result in runner.run_tasks(_walk, tasks, lost=_lost, apart=True):
        if result.died:
            raise _DiedError
        yield task, result


def _lost(_task: _Task, _fault: StorecastError) -> _Walked:
    return _Walked(None, died=True)


def _death(model: str, cutoff: date) -> Finding:
    return Finding(model, cutoff, 0, (), (), None, repeated=True, own=False, died=True)


Walks = Callable[[Iterable[_Trial]], dict[_Trial, _Walked]]


def _found(walked: Walks, cutoff: date, *, each: bool) -> list[Finding]:
    told = walked([_AS_IT_IS, *_ALL, _SEASON, *(_EACH if each else ())])
    base = told[_AS_IT_IS].frame
    if base is None:
        return []
    kinds = {kind for trial in _ALL for kind in told[trial].kinds}
    models = base["model"].unique().sort().to_list()
    still = [m for m in models if not _differing(base, told[_SEASON].frame, m)]
    leaking = [m for m in models if any(_differing(base, told[t].frame, m) for t in _ALL)]
    further = {_AGAIN: bool(leaking), _PAST: bool(still)}
    more = [trial for trial, wanted in further.items() if wanted]
    if leaking and not each:
        more += _EACH
    if more:
        told |= walked(more)
    return [_finding(model, cutoff, base, told, kinds) for model in models]


def _finding(
    model: str,
    cutoff: date,
    base: pl.DataFrame,
    told: Mapping[_Trial, _Walked],
    kinds: set[str],
) -> Finding:
    leaks: list[Leak] = []
    for trial in (*_EACH, *_ALL):
        frame = told[trial].frame if trial in told else None
        differing = _differing(base, frame, model)
        if differing and (len(trial.kinds) == 1 or not leaks):
            kind = trial.kinds[0] if len(trial.kinds) == 1 else TOGETHER
            leaks.append(Leak(kind, trial.how, len(differing), differing[0]))
    controls = [told[t].frame for t in (_SEASON, _PAST) if t in told]
    controls = [frame for frame in controls if frame is not None]
    mine = base.filter(pl.col("model") == model)
    return Finding(
        model=model,
        cutoff=cutoff,
        stores=mine["store_id"].n_unique(),
        kinds=tuple(kind for kind in _EVERY if kind in kinds),
        leaks=tuple(leaks),
        moved=any(_differing(base, f, model) for f in controls) if controls else None,
        repeated=_AGAIN not in told or not _differing(base, told[_AGAIN].frame, model),
        own="origin" not in mine.columns or (mine["origin"] != FILLED).any(),
    )


def _differing(base: pl.DataFrame, other: pl.DataFrame | None, model: str) -> list[str]:
    """Stores whose forecasts are not the same to the bit, sorted; none where nothing was asked."""
    if other is None:
        return []
    rows = pl.concat([base, other.select(base.columns)]).filter(pl.col("model") == model)
    alone = rows.group_by(rows.columns).len().filter(pl.col("len") == 1)
    return alone["store_id"].unique().sort().to_list()


# ------------------------------------------------------------------------ which stores


def few_stores(history: History, cutoff: date, most: int) -> History:
    """The history of at most ``most`` stores, chosen by rule.

    A quarter are those that end, and another quarter those that begin, nearest to the cutoff on
    either side, later ones first; the others are drawn from those seen by the cutoff, by a hash
    of their names.
    """
    frequency = history.rules.frequency
    last = frequency.ordinal(cutoff)
    whole = lives(history, frequency.complete(history.through)).join(ended(history), on="store_id")
    if whole.height <= most:
        return history
    ends = whole.filter(pl.col("ended_on").is_not_null()).select(
        "store_id", away=(pl.col("ended_on") - cutoff).dt.total_days()
    )
    begins = whole.select("store_id", away=pl.col("start").cast(pl.Int64) - last)
    chosen = dict.fromkeys([*_nearest(ends)[: most // 4], *_nearest(begins)[: most // 4]])
    seen = lives(history, last)["store_id"].to_list()
    for store in sorted(seen, key=lambda s: hashlib.sha256(s.encode()).digest()):
        if len(chosen) >= most:
            break
        chosen[store] = None
    return of_stores(history, chosen)


def _nearest(away: pl.DataFrame) -> list[str]:
    """By the distance from the cutoff, the later of two equals first, what came after before."""
    ordered = away.sort(pl.col("away") <= 0, pl.col("away").abs(), "store_id")
    return ordered["store_id"].to_list()
