"""What somebody rolled back does not come back by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storecast import registry, runs
from storecast.deployment.step import deploy
from storecast.errors import Code, Refusal
from storecast.project import Project
from storecast.promotion.step import promote, rollback
from tests.deployment.conftest import LEVEL, NAIVE

# MLflow and SQLAlchemy warn about themselves
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

Shop = Callable[..., Project]


def test_a_version_that_was_rolled_back_is_deployed_again_only_where_something_is_new(
    shop: Shop,
) -> None:
    project = shop()
    assert deploy(project, model=LEVEL).version == "1"
    forced = deploy(project, model=NAIVE, force=True, reason="to see it")
    assert forced.champion == "2"
    assert rollback(project, reason="too rough").after == "1"

    with pytest.raises(Refusal) as refused:
        deploy(project, model=NAIVE)
    assert (refused.value.code, refused.value.exit_code) == (Code.ROLLED_BACK, 3)
    assert "version 2" in refused.value.message
    assert "too rough" in refused.value.message
    assert runs.ledger(project)[-1]["status"] == "refused"
    assert registry.of(project).version().number == "1"
    # the other model is not concerned, nor is what is forced, nor what was promoted since
    assert deploy(project, model=LEVEL).unchanged
    assert deploy(project, model=NAIVE, force=True, reason="after all").champion == "2"
    rollback(project)
    promote(project, "2", force=True, reason="by hand")
    assert deploy(project, model=NAIVE).unchanged

    rollback(project)
    newer = shop(167)
    with pytest.raises(Refusal) as gate:  # its own no, of a version of its own
        deploy(newer, model=NAIVE)
    assert gate.value.code in (Code.GATE_REFUSED, Code.GATE_NOT_ENOUGH_EVIDENCE)
    assert len(registry.of(newer).versions()) == 3
