"""Move Champion by hand: to a version, or back to the one that had it before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from storecast import lineage, registry, runs
from storecast.errors import Code, ConfigurationError, Refusal
from storecast.promotion.fitness import Objection, objections, obstacles
from storecast.registry.aliases import Move, no_previous

if TYPE_CHECKING:
    from storecast.project import Project
    from storecast.registry import ModelVersion, Registry
    from storecast.runs import Run

PROMOTE, ROLLBACK = "promote", "rollback"


@dataclass(frozen=True)
class PromotionResult:
    """What a promotion or a rollback did.

    Attributes:
        run_id: of the run, by which ``runs`` tells who, when and why.
        command: promote or rollback.
        model_name: the registered model.
        before: the version that was the champion; None: none was.
        after: the version that is.
        model: the name of its model in the configuration.
        moved: whether another version is the champion now.
        previous: the version that a rollback would go back to; None: none.
        by: user@host.
        reason: why, as it was given.
        forced: whether something spoke against it.
        objections: what did.
    """

    run_id: str
    command: str
    model_name: str
    before: str | None
    after: str
    model: str
    moved: bool
    previous: str | None
    by: str
    reason: str | None
    forced: bool
    objections: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {
            "objections": list(self.objections),
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """For people."""
        what = f"version {self.after} ({self.model})" if self.model else f"version {self.after}"
        if not self.moved:
            return [f"unchanged: {what} is the champion of {self.model_name} already"]
        told = [f"{what} is the champion of {self.model_name}; the next forecast is made with it"]
        if self.command == ROLLBACK:
            told.append(
                f"version {self.before} was rolled back; "
                f"`storecast models promote {self.before}` would bring it back"
            )
        elif self.previous is not None:
            told.append(f"`storecast models rollback` would go back to version {self.previous}")
        if self.forced:
            told.append(f"forced by {self.by}, although {'; '.join(self.objections)}")
        return told


def promote(
    project: Project, version: str, *, force: bool = False, reason: str | None = None
) -> PromotionResult:
    """Make a registered version the champion.

    Promoting the champion changes nothing.

    Args:
        project: what ``storecast.load`` gave.
        version: its number, or an alias.
        force: promote it even where something speaks against it: the gate or the leak audit, a
            damaged artefact, another frequency, a shorter horizon, other columns.
        reason: why.

    Raises:
        Refusal: VERSION_UNFIT, with every reason.
        ConfigurationError: USAGE for a reason of more than 250 characters.
        ModelError: MODEL_UNKNOWN.
        RegistryError: NO_CHAMPION, ALIAS_NOT_SET, REGISTRY_DENIED, REGISTRY_UNREACHABLE.
    """
    why = _why(reason)
    with runs.begin(project, PROMOTE) as run:
        versions = registry.of(project)
        wanted = versions.version(version)
        before = _champion_before(project, versions, wanted)
        run.details.update(_told(wanted, before, why))
        against = [] if before == wanted.number else objections(project, wanted)
        _accepted(run, wanted, against, force)
        if against:
            over = list(dict.fromkeys(o.kind for o in against))
            versions.tag(wanted.number, lineage.forced_tags(run.run_id, why, over))
        versions.promote(wanted.number)
        return _result(run, versions, wanted, Move(before, wanted.number), why, against)


def rollback(
    project: Project, *, force: bool = False, reason: str | None = None
) -> PromotionResult:
    """Give Champion back to the version that had it before; the next forecast is made with it.

    PreviousChampion stays on that version, so that there is nothing to go back to until the next
    promotion: a second rollback is refused.

    Args:
        project: what ``storecast.load`` gave.
        force: go back even where the version could not forecast.
        reason: why.

    Raises:
        Refusal: NO_PREVIOUS_CHAMPION, VERSION_UNFIT.
        ConfigurationError: USAGE for a reason of more than 250 characters.
        RegistryError: NO_CHAMPION, ALIAS_NOT_SET, REGISTRY_DENIED, REGISTRY_UNREACHABLE.
    """
    why = _why(reason)
    with runs.begin(project, ROLLBACK) as run:
        versions = registry.of(project)
        champion = versions.version()
        target = versions.previous() or champion
        before = _champion_before(project, versions, target)
        if before == target.number:
            previous = versions.aliases.at(registry.PREVIOUS_CHAMPION)
            raise no_previous(versions.name, champion.number, previous)
        run.details.update(_told(target, before, why))
        against = [] if target == champion else obstacles(project, target)
        _accepted(run, target, against, force)
        if target != champion:
            versions.rollback()
        return _result(run, versions, target, Move(before, target.number), why, against)


def _why(reason: str | None) -> str | None:
    given = (reason or "").strip()
    if len(given) > lineage.LONGEST:
        raise ConfigurationError(
            Code.USAGE,
            "the reason is too long to be kept with the version",
            where="--reason",
            expected=f"at most {lineage.LONGEST} characters",
            found=f"{len(given)} characters",
        )
    return given or None


def _champion_before(project: Project, versions: Registry, wanted: ModelVersion) -> str | None:
    """The champion before this command makes ``wanted`` it.

    A command that was killed after it moved the alias left no row in the ledger: its rerun finds
    ``wanted`` on Champion, and the champion before on PreviousChampion or in the ledger alone.
    """
    champion = versions.aliases.at(registry.CHAMPION)
    if champion != wanted.number:
        return champion
    recorded = lineage.recorded_champion(project, versions.name)
    previous = versions.aliases.at(registry.PREVIOUS_CHAMPION)
    interrupted = recorded is not None and previous in (recorded, champion)
    return recorded if interrupted else champion


def _accepted(run: Run, version: ModelVersion, against: list[Objection], force: bool) -> None:
    sentences = [o.sentence for o in against]
    run.details.update(forced=bool(against) and force, objections=sentences)
    if not against or force:
        return
    raise Refusal(
        Code.VERSION_UNFIT,
        f"version {version.number} is not made the champion: {'; '.join(sentences)}",
        where=f"{version.name} version {version.number}",
        expected="a version that passed the gate and the leak audit, whole, for the data at hand",
        found=", ".join(dict.fromkeys(o.kind for o in against)),
        next_step="storecast models list shows the others; --force --reason TEXT overrides",
    )


def _told(wanted: ModelVersion, before: str | None, why: str | None) -> dict[str, Any]:
    return {
        "model_name": wanted.name,
        "champion": wanted.number,
        "from": before,
        "to": wanted.number,
        "by": lineage.operator(),
        "reason": why,
    }


def _result(
    run: Run,
    versions: Registry,
    champion: ModelVersion,
    move: Move,
    why: str | None,
    against: list[Objection],
) -> PromotionResult:
    previous = versions.previous()
    return PromotionResult(
        run_id=run.run_id,
        command=run.command,
        model_name=champion.name,
        before=move.before,
        after=move.after,
        model=champion.tags.get("model", ""),
        moved=move.moved,
        previous=None if previous is None else previous.number,
        by=lineage.operator(),
        reason=why,
        forced=bool(against),
        objections=tuple(o.sentence for o in against),
    )
