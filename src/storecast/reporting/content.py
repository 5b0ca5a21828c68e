"""What the report is made of and what it says: ``Setting`` and ``Tables`` in, ``Content`` out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from storecast.backtest.significance import Verdict
from storecast.backtest.spans import SpanVerdict
from storecast.core.calendar import Frequency

_YEAR = {"D": 364, "M": 12, "W": 52}


@dataclass(frozen=True)
class Setting:
    """What the configuration and the moment add to the tables.

    ``model`` is the name of the validated recipe behind the forecast, None where unknown;
    ``failure`` says why the champion failed in the newest forecast run, whose forecast is
    ``forecast_id``. ``leaking`` names the models that the leak audit failed, ``proven`` those that
    it passed, ``pretrained`` those that may know the test's data; ``by_series_end`` says that the
    validation is a benchmark. ``spans`` says how models did from other first days of training.
    """

    project: str
    locale: str
    currency: str | None
    frequency: Frequency
    season: int
    quantiles: tuple[float, ...]
    point: str
    metric: str
    baseline: str
    generated_at: datetime
    package_version: str
    through: date | None = None
    model: str | None = None
    validation_id: str | None = None
    perfect_foresight: tuple[str, ...] = ()
    timeless: tuple[str, ...] = ()
    leaking: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()
    pretrained: tuple[str, ...] = ()
    by_series_end: bool = False
    spans: tuple[SpanVerdict, ...] = ()
    failure: str | None = None
    forecast_id: str | None = None

    @property
    def year(self) -> int:
        """Periods after which the same weekdays or the same month come again."""
        return _YEAR[self.frequency.code[0]]


@dataclass(frozen=True)
class Tables:
    """The frames that a report is made of; None or empty where there is nothing yet.

    ``panel`` is regular: store_id, date (the period's label), sales (null: unknown).
    The others have the columns of their tables.
    """

    panel: pl.DataFrame | None = None
    stores: pl.DataFrame | None = None
    forecasts: pl.DataFrame | None = None
    ledger: pl.DataFrame | None = None
    scores: pl.DataFrame | None = None
    backtest: pl.DataFrame | None = None
    runs: pl.DataFrame | None = None


@dataclass(frozen=True)
class Line:
    """A stretch of consecutive periods: the first one's ordinal, and a value each."""

    start: int
    values: tuple[float | None, ...]

    @property
    def end(self) -> int:
        """The ordinal after the last one."""
        return self.start + len(self.values)

    def tail(self, periods: int) -> Line:
        """The last ``periods`` periods."""
        if len(self.values) <= periods:
            return self
        return Line(self.end - periods, self.values[-periods:])

    def at(self, ordinal: int) -> float | None:
        """The value of a period, None outside."""
        inside = self.start <= ordinal < self.end
        return self.values[ordinal - self.start] if inside else None


@dataclass(frozen=True)
class ShopForecast:
    """The forecast of a shop: point, mean and the outermost quantiles, one value a step."""

    point: Line
    mean: Line
    low: Line | None
    high: Line | None
    origin: str

    @property
    def expected(self) -> float:
        """The expected sum over the horizon."""
        return sum(v for v in self.mean.values if v is not None)


@dataclass(frozen=True)
class Tested:
    """Test forecasts of a shop: of each period the one made last before it."""

    point: Line
    low: Line | None
    high: Line | None

    def tail(self, periods: int) -> Tested:
        """The last ``periods`` periods."""
        low, high = (line.tail(periods) if line else None for line in (self.low, self.high))
        return Tested(self.point.tail(periods), low, high)


@dataclass(frozen=True)
class Shop:
    """A shop: how it is called, what it sold, what is forecast, and how well."""

    store_id: str
    name: str | None
    history: Line | None
    forecast: ShopForecast | None
    tested: Tested | None
    wape: float | None
    why_not: str | None = None


@dataclass(frozen=True)
class Comparison:
    """The expected total beside what was sold in the same periods a year before."""

    then: float
    now: float

    @property
    def change(self) -> float | None:
        """0.1 is ten per cent more; None where nothing was sold then."""
        return self.now / self.then - 1 if self.then > 0 else None


@dataclass(frozen=True)
class Outlook:
    """The newest forecast as a whole. ``origins`` counts shops by where theirs comes from."""

    cutoff: date
    first_day: date
    last_day: date
    horizon: int
    shops: int
    expected: float
    year_before: Comparison | None
    same_shops: Comparison | None
    n_same_shops: int
    model_name: str
    model_version: str
    forecast_id: str
    created_at: datetime | None
    origins: Mapping[str, int]
    mean: Line


@dataclass(frozen=True)
class Score:
    """One row of the leaderboard.

    ``loss`` is the metric by which models are ordered, ``spread`` its lowest and highest value
    over the cutoffs, ``gain`` the share by which it is below the baseline's; ``p_value`` and
    ``verdict`` say whether that is real (``backtest.significance``), None for the baseline.
    """

    model: str
    loss: float | None
    wape: float | None
    mase: float | None
    rmsse: float | None
    bias: float | None
    coverage: float | None
    n_scored: int
    n_filled: int
    spread: tuple[float, float] | None = None
    gain: float | None = None
    p_value: float | None = None
    verdict: Verdict | None = None

    @property
    def filled(self) -> float:
        """The share of its forecasts that are the baseline's."""
        return self.n_filled / self.n_scored if self.n_scored else 0.0


@dataclass(frozen=True)
class Segment:
    """A part of the chain: ``attribute`` is None for those that every chain has.

    ``losses`` has the ordering metric of each model.
    """

    attribute: str | None
    member: str
    n_scored: int
    losses: Mapping[str, float | None]


@dataclass(frozen=True)
class Trust:
    """What the walk-forward validation measured.

    ``by_cutoff`` and ``by_step`` have the ordering metric of each model, by the cutoff's ISO date
    and by step from 1 on. ``total_error`` is the mean over windows of |forecast − sales| / sales
    of the chain's total over the horizon, ``total_worst`` the largest of them.
    """

    validation_id: str
    metric: str
    leaderboard: tuple[Score, ...]
    model: Score
    baseline: Score | None
    cutoffs: tuple[date, ...]
    by_cutoff: Mapping[str, Mapping[str, float | None]]
    by_step: Mapping[str, tuple[float | None, ...]]
    segments: tuple[Segment, ...]
    segments_left_out: int
    total_error: float | None
    total_worst: float | None
    total_windows: int

    @property
    def steps(self) -> int:
        """How many steps ahead were scored."""
        return max(map(len, self.by_step.values()), default=0)

    @property
    def is_baseline(self) -> bool:
        """Whether nothing beat the baseline."""
        return self.baseline is not None and self.baseline.model == self.model.model


@dataclass(frozen=True)
class RunLine:
    """A row of the ledger, for the footer."""

    run_id: str
    command: str
    ended_at: datetime | None
    status: str


@dataclass(frozen=True)
class Content:
    """Everything that the report shows.

    ``kept`` is the history a shop has at most, ``tested_kept`` its tested periods, and
    ``tested_shops`` how many shops have test forecasts; each None where nothing was cut.
    """

    setting: Setting
    outlook: Outlook | None
    trust: Trust | None
    total: Line | None
    total_is_partial: bool
    shops: tuple[Shop, ...]
    kept: int | None
    runs: tuple[RunLine, ...]
    interval: tuple[float, float] | None
    tested_kept: int | None = None
    tested_shops: int | None = None
