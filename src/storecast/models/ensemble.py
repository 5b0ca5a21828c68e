"""Several models as one: the weighted mean of their forecasts, with weights by segment.

Weights are learnt from what the members said in earlier windows (``Weights.learn``); whoever calls
hands in targets complete at the cutoff only. Members whose error is far above the best one's are
left out; then greedy selection with replacement, as in Caruana and others, Ensemble Selection from
Libraries of Models, ICML (2004), for the least sum of absolute errors; then half the way back to
equal weights, since optimal ones are uncertain (Claeskens and others, The forecast combination
puzzle: a simple theoretical explanation, International Journal of Forecasting 32 (2016), 754–762).

An ensemble has no quantiles of its own: its intervals are conformal, from its own earlier errors.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import polars as pl

from storecast.errors import Code, ModelError
from storecast.models.base import (
    KEY,
    POINTS,
    Configured,
    Forecaster,
    Recipe,
    checked,
    create,
    finish,
    is_pretrained,
    restore,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storecast.core.window import Future, Past

KIND: Final = "ensemble"
ENOUGH: Final = 20
"""Stores from which on a segment has weights of its own."""
ROUNDS: Final = 20
"""Members drawn, with replacement, by the greedy selection."""
WORST: Final = 1.5
"""A member whose error is above this multiple of the best one's has no weight."""
Key = tuple[str, ...]


# ------------------------------------------------------------------- configuration


def member_names(model: Configured, models: Sequence[Configured]) -> tuple[str, ...]:
    """The members of a configured ensemble, in the order of ``models`` or as it names them.

    By default all but ensembles and pretrained models: the training data of these may hold the
    windows that the weights are learnt from.

    Raises:
        ModelError: MODEL_UNKNOWN, MODEL_FAILED.
    """
    others = {m.name: m for m in models if m.kind != KIND}
    own = dict(model.parameters)
    usual = [n for n, m in others.items() if not is_pretrained(_bare(m))]
    names = own.pop("members", usual)
    if own:
        raise _refused(model, f"has no parameter {', '.join(map(repr, own))}", "members")
    if not isinstance(names, list | tuple) or len(set(map(str, names))) < max(2, len(names)):
        raise _refused(model, "needs at least two different members", "a list of models' names")
    for name in names:
        if name not in others:
            near = difflib.get_close_matches(str(name), others, 1)
            raise ModelError(
                Code.MODEL_UNKNOWN,
                f"ensemble {model.name!r}: there is no member {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                where=f"models: {model.name}.members",
                expected=", ".join(others),
                found=str(name),
                next_step="name models of `models` that are no ensembles",
            )
    return tuple(names)


def _bare(model: Configured) -> Recipe:
    return Recipe(model.name, model.kind, model.parameters)


def _refused(model: Configured, why: str, expected: str) -> ModelError:
    return ModelError(
        Code.MODEL_FAILED,
        f"ensemble {model.name!r} {why}",
        where=f"models: {model.name}",
        expected=expected,
        found=json.dumps(model.parameters, default=str),
    )


def with_members(recipe: Recipe, members: Sequence[Recipe]) -> Recipe:
    """The ensemble's recipe, its members' recipes among its parameters, its weights kept."""
    plain = [json.loads(member.to_json()) for member in members]
    return replace(recipe, parameters={**recipe.parameters, "members": plain})


def members_of(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipes of an ensemble's members."""
    return tuple(
        replace(
            Recipe.from_json(json.dumps(plain)), accelerator=recipe.accelerator, home=recipe.home
        )
        for plain in recipe.parameters["members"]
    )


def computed(recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """The recipes that have to be fitted: all but ensembles, and the ensembles' members."""
    found = {r.name: r for r in recipes if r.kind != KIND}
    for recipe in recipes:
        if recipe.kind == KIND:
            for member in members_of(recipe):
                found.setdefault(member.name, member)
    return tuple(found.values())


# ------------------------------------------------------------------------- weights


@dataclass(frozen=True)
class Weights:
    """What each member counts, by segment.

    Attributes:
        members: their names.
        table: by the values of the first segment attributes, as many as there were stores enough
            for; the empty key is all stores'. Each row has a weight a member, in sum 1.
    """

    members: tuple[str, ...]
    table: Mapping[Key, tuple[float, ...]]

    @classmethod
    def equal(cls, members: Sequence[str]) -> Self:
        """The weights of those of whom nothing is known."""
        return cls(tuple(members), {(): (1 / len(members),) * len(members)})

    @classmethod
    def learn(cls, rows: pl.DataFrame, members: Sequence[str], attributes: Sequence[str]) -> Self:
        """Learn from windows whose targets are complete.

        Args:
            rows: store_id, sales, the attributes, and each member's forecast by its position
                (``0``, ``1``, …), null where it made none of its own. Rows with unknown sales
                teach nothing; their order decides the last digits of the sums.
            members: their names.
            attributes: of the segments, the most important first.
        """
        known = rows.filter(pl.col("sales").is_not_null())
        if known.is_empty():
            return cls.equal(members)
        table: dict[Key, tuple[float, ...]] = {(): _fitted(known, len(members))}
        for depth in range(1, len(attributes) + 1):
            names = list(attributes[:depth])
            parts = known.drop_nulls(names).partition_by(names, as_dict=True, maintain_order=True)
            for key in sorted(parts):
                if parts[key]["store_id"].n_unique() >= ENOUGH:
                    table[tuple(map(str, key))] = _fitted(parts[key], len(members))
        return cls(tuple(members), table)

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Those of an ensemble's recipe; equal where it has none yet."""
        names = [plain["name"] for plain in recipe.parameters["members"]]
        told = recipe.parameters.get("weights")
        if told is None:
            return cls.equal(names)
        return cls(tuple(names), {tuple(row["segment"]): tuple(row["weights"]) for row in told})

    def put(self, recipe: Recipe) -> Recipe:
        """The recipe with these weights among its parameters."""
        told = [{"segment": list(k), "weights": list(w)} for k, w in sorted(self.table.items())]
        return replace(recipe, parameters={**recipe.parameters, "weights": told})

    def among(self, there: Sequence[bool]) -> Weights:
        """The weights where only some members are there; equal ones where those had none."""
        mask = np.asarray(there, dtype=np.float64)
        if mask.all() or not mask.any():
            return self
        table = {}
        for key, row in self.table.items():
            left = np.asarray(row) * mask
            left = left if left.any() else mask
            table[key] = tuple(float(w) for w in left / left.sum())
        return Weights(self.members, table)

    def used(self) -> tuple[str, ...]:
        """Members that count anywhere."""
        rows = list(self.table.values())
        return tuple(name for i, name in enumerate(self.members) if any(row[i] for row in rows))

    def matrix(self, rows: pl.DataFrame, attributes: Sequence[str]) -> NDArray[np.float64]:
        """Each row's weights, shape (rows, members): those of its longest known segment."""
        if not attributes:
            return np.tile(np.asarray(self.table[()]), (rows.height, 1))
        found: dict[tuple[Any, ...], tuple[float, ...]] = {}
        out = np.empty((rows.height, len(self.members)))
        for i, values in enumerate(rows.select(list(attributes)).iter_rows()):
            if values not in found:
                found[values] = self._row(values)
            out[i] = found[values]
        return out

    def _row(self, values: Sequence[Any]) -> tuple[float, ...]:
        for depth in range(len(values), 0, -1):
            key = values[:depth]
            row = None if None in key else self.table.get(tuple(map(str, key)))
            if row is not None:
                return row
        return self.table[()]


def mixed(weights: NDArray[np.float64], forecasts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted mean, both of shape (rows, members); what has no weight may be anything."""
    total = np.zeros(len(weights))
    # member by member: the order of the terms decides the last bit
    for i in range(weights.shape[1]):
        share = weights[:, i]
        total += np.where(share > 0, share * forecasts[:, i], 0.0)
    return total


def _fitted(rows: pl.DataFrame, members: int) -> tuple[float, ...]:
    actual = rows["sales"].to_numpy().astype(np.float64)
    said = rows.select(map(str, range(members))).fill_null(np.nan).to_numpy().astype(np.float64)
    own = np.isfinite(said)
    counts = own.sum(axis=0)
    if not counts.any():
        return (1 / members,) * members
    # one that fails nearly everywhere must not take the others' windows away
    candidates = np.flatnonzero(2 * counts >= counts.max())
    common = own[:, candidates].all(axis=1)
    actual, said = actual[common], said[np.ix_(common, candidates)]
    missed = np.abs(actual[:, None] - said).sum(axis=0)
    good = candidates[missed <= WORST * missed.min()]
    picks = _selected(actual, said[:, missed <= WORST * missed.min()])
    weights = np.zeros(members)
    weights[good] = (picks / picks.sum() + 1 / good.size) / 2
    return tuple(float(w) for w in weights)


def _selected(actual: NDArray[np.float64], said: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often each member is drawn: at each round the one that leaves the least error."""
    columns = np.ascontiguousarray(said.T)
    picks, total = np.zeros(len(columns)), np.zeros(len(actual))
    if len(columns) == 1:
        return picks + 1
    for done in range(1, ROUNDS + 1):
        # what the sum of the drawn would have to be to miss nothing
        left = actual * done - total
        missed = [np.abs(left - column).sum() for column in columns]
        best = int(np.argmin(missed))
        picks[best] += 1
        total += columns[best]
    return picks


# --------------------------------------------------------------------- the forecaster


class Ensemble:
    """The weighted mean of its members, each fitted on the same past.

    Only members that count anywhere are fitted and kept.
    """

    kind: ClassVar[str] = KIND
    stateless: ClassVar[bool] = False

    def __init__(self, recipe: Recipe) -> None:
        """Create the members; raises what they raise."""
        self._recipe = recipe
        self._weights = Weights.of(recipe)
        used = self._weights.used()
        self._models: dict[int, Forecaster] = {
            i: create(member) for i, member in enumerate(members_of(recipe)) if member.name in used
        }

    @property
    def fast(self) -> bool:
        """Whether the backtest of every member is cheap."""
        return all(getattr(model, "fast", True) for model in self._models.values())

    def fit(self, past: Past) -> None:
        """Fit every member that learns anything before the forecast."""
        for model in self._models.values():
            if not model.stateless:
                model.fit(past)

    def predict(self, past: Past, future: Future) -> pl.DataFrame:
        """The weighted mean of what the members say, each finished first."""
        rows, rules = future.rows, past.rules
        told = {i: self._said(i, past, future) for i in self._models}
        stores = past.stores.select("store_id", *rules.segments)
        placed = rows.select("store_id").join(
            stores, on="store_id", how="left", maintain_order="left"
        )
        weights = self._weights.matrix(placed, rules.segments)
        out = rows.select(KEY)
        for point in POINTS:
            said = np.zeros(weights.shape)
            for i, frame in told.items():
                said[:, i] = frame[point].to_numpy()
            out = out.with_columns(pl.Series(point, mixed(weights, said)))
        return out

    def _said(self, i: int, past: Past, future: Future) -> pl.DataFrame:
        model = self._models[i]
        if model.stateless:
            model = create(members_of(self._recipe)[i])
            model.fit(past)
        return finish(checked(model.predict(past, future), future, past.rules), future, past.rules)

    def state(self) -> dict[str, bytes]:
        """The members' files, each under a folder named by its position.

        Raises:
            ModelError: MODEL_FAILED where a member has no state that plain files can hold.
        """
        files: dict[str, bytes] = {}
        for i, model in self._models.items():
            if model.stateless:
                continue
            state = getattr(model, "state", None)
            if state is None:
                raise ModelError(
                    Code.MODEL_FAILED,
                    f"the ensemble {self._recipe.name!r} cannot be packed",
                    expected="members with state() and from_state()",
                    found=f"member {self._weights.members[i]!r} without them",
                    next_step="leave it out of the ensemble's `members`, and validate",
                )
            files |= {f"{i}/{name}": content for name, content in state().items()}
        return files

    @classmethod
    def from_state(cls, recipe: Recipe, files: Mapping[str, bytes]) -> Self:
        """Rebuild the ensemble with its fitted members."""
        made = cls(recipe)
        members = members_of(recipe)
        for i, model in made._models.items():
            if not model.stateless:
                own = {
                    name.removeprefix(f"{i}/"): content
                    for name, content in files.items()
                    if name.startswith(f"{i}/")
                }
                made._models[i] = restore(members[i], own)
        return made
