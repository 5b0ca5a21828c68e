"""The doctor: a sound project is healthy, and each mistake of a newcomer is found by name."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from storecast import registry, runs
from storecast.errors import Code, ConfigurationError, RegistryError
from storecast.ingestion.step import ingest
from storecast.project import Project, load
from storecast.setup import doctor
from storecast.setup.findings import Diagnosis, Finding, guarded
from tests.shops import configure

Row = tuple[Any, ...]


class Clinic:
    """A project over SQLite whose parts can be made wrong one at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fill(
            (f"{store}-{week}", store, (date(2021, 1, 4) + timedelta(weeks=week)).isoformat(), 5.5)
            for store in ("001", "1")
            for week in range(60)
        )
        self.configure()

    def fill(self, rows: Iterable[Row], store_type: str = "TEXT") -> None:
        self.sql(
            "DROP TABLE IF EXISTS vendas;"
            f"CREATE TABLE vendas (id TEXT, loja {store_type}, dia TEXT, valor)"
        )
        with sqlite3.connect(self.root / "vendas.db") as connection:
            connection.executemany("INSERT INTO vendas VALUES (?, ?, ?, ?)", rows)
        connection.close()

    def sql(self, script: str) -> None:
        with sqlite3.connect(self.root / "vendas.db") as connection:
            connection.executescript(script)
        connection.close()

    def configure(self, **changes: Any) -> None:
        configure(self.root, **changes)

    def check(self, *overrides: str) -> Diagnosis:
        return doctor.check(self.root, overrides)


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def named(diagnosis: Diagnosis, name: str) -> list[Finding]:
    return [f for f in diagnosis.findings if f.name == name]


def the(diagnosis: Diagnosis, name: str) -> Finding:
    (finding,) = named(diagnosis, name)
    return finding


def test_a_sound_project_is_healthy_before_its_first_run(clinic: Clinic) -> None:
    diagnosis = clinic.check()
    assert diagnosis.healthy, diagnosis.findings
    statuses = {f.name: f.status for f in diagnosis.findings}
    for name in ("versions", "libraries", "configuration", "project folder", "source vendas",
                 "primary key", "stores", "dates", "amounts", "frequency", "through",
                 "history"):  # fmt: skip
        assert statuses[name] == "ok", diagnosis.findings
    assert statuses["tables"] == statuses["registry"] == "warning"


def test_whatever_is_not_ok_says_what_to_do(clinic: Clinic) -> None:
    clinic.configure(source__sales__from="venda", forecast__horizon=500)
    for finding in clinic.check().findings:
        assert finding.sentence
        if finding.status != "ok":
            assert finding.next_step, finding


def test_the_project_is_as_it_was(clinic: Clinic) -> None:
    def content() -> dict[str, str]:
        return {
            str(p.relative_to(clinic.root)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in clinic.root.rglob("*")
            if p.is_file()
        }

    before = content()
    clinic.check()
    assert content() == before


def test_no_configuration(tmp_path: Path) -> None:
    diagnosis = doctor.check(tmp_path)
    assert not diagnosis.healthy
    finding = the(diagnosis, "configuration")
    assert "CONFIG_NOT_FOUND" in finding.sentence
    assert "init" in str(finding.next_step)


def test_every_fault_of_the_configuration_is_a_finding(clinic: Clinic) -> None:
    clinic.configure(series__frequency="weekly", forecast__horizont=3, models=["arima"])
    findings = named(clinic.check(), "configuration")
    assert {f.status for f in findings} == {"failed"}
    assert len(findings) >= 3
    text = " ".join(f.sentence for f in findings)
    for part in ("series.frequency", "forecast.horizont", "did you mean 'horizon'", "arima"):
        assert part in text


def test_overrides_are_what_is_checked(clinic: Clinic) -> None:
    assert not clinic.check("series.frequency=weekly").healthy


def test_a_model_whose_package_is_not_installed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "models=[seasonal_naive, xgboost]"
    assert the(clinic.check(asked), "models").status == "ok"
    monkeypatch.setitem(sys.modules, "xgboost", None)  # as if it were not installed
    finding = the(clinic.check(asked), "models")
    assert finding.status == "failed"
    assert "EXTRA_MISSING" in finding.sentence
    assert 'pip install "storecast[xgboost]"' in str(finding.next_step)


@pytest.mark.parametrize(
    ("windows", "status", "said"),
    [
        (4, "warning", "the gate keeps 1 window: no other recipe could ever show"),
        (3, "warning", "no window is left for the gate"),
        (10, "ok", "the last 4 windows are kept"),
    ],
)
def test_a_gate_without_windows_enough(
    clinic: Clinic, windows: int, status: str, said: str
) -> None:
    found = clinic.check(f"validation.windows={windows}")
    (finding,) = [f for f in found.findings if f.name == "gate"]
    assert finding.status == status
    assert said in finding.sentence
    if status == "warning":
        assert "validation.windows to at least 10" in str(finding.next_step)


def test_a_source_that_is_not_there(clinic: Clinic) -> None:
    clinic.configure(source__path="nowhere/vendas.db")
    diagnosis = clinic.check()
    assert not diagnosis.healthy
    assert any("SOURCE_UNREACHABLE" in f.sentence for f in diagnosis.findings)
    assert not (clinic.root / "nowhere").exists()


def test_a_table_that_is_not_there(clinic: Clinic) -> None:
    clinic.configure(source__sales__from="venda")
    finding = the(clinic.check(), "source venda")
    assert finding.status == "failed"
    assert "SOURCE_TABLE_NOT_FOUND" in finding.sentence


def test_a_column_that_is_not_there_gets_the_nearest(clinic: Clinic) -> None:
    clinic.configure(source__sales__columns={"store_id": "lojas", "date": "dia", "sales": "valor"})
    finding = the(clinic.check(), "source vendas")
    assert finding.status == "failed"
    assert "SOURCE_COLUMN_NOT_FOUND" in finding.sentence
    assert "'loja'" in str(finding.next_step)


def test_a_type_that_ingestion_refuses_has_its_code(clinic: Clinic) -> None:
    pyarrow.parquet.write_table(
        pa.table({"id": ["1"], "loja": [["a"]], "dia": ["2021-01-04"], "valor": [1.0]}),
        clinic.root / "vendas.parquet",
    )
    clinic.configure(source__type="files", source__path=".", source__sales__from="vendas.parquet")
    (finding,) = [f for f in clinic.check().findings if f.status == "failed"]
    assert "COLUMN_TYPE_INVALID: vendas.parquet.loja" in finding.sentence
    clinic.configure(
        source__type="files",
        source__path=".",
        source__sales__from="vendas.parquet",
        source__sales__columns={"store_id": "id", "date": "loja", "sales": "valor"},
    )
    found = clinic.check().findings
    assert any("COLUMN_TYPE_INVALID" in f.sentence for f in found)
    assert not any("could not be made" in f.sentence for f in found)


def test_a_query_whose_columns_are_one_to_the_source(clinic: Clinic) -> None:
    clinic.configure(source__sales={
        "query": "SELECT id, loja, dia, 1 AS VALOR, valor FROM vendas",
        "primary_key": ["id"],
        "columns": {"store_id": "loja", "date": "dia", "sales": "valor"},
    })  # fmt: skip
    findings = named(clinic.check(), "source")
    assert any("SOURCE_COLUMN_AMBIGUOUS" in f.sentence for f in findings), findings


def test_a_configuration_that_the_tables_cannot_follow(clinic: Clinic) -> None:
    assert ingest(load(clinic.root)).stores == 2
    assert the(clinic.check(), "tables").status == "ok"
    clinic.configure(series__frequency="D", source__sales__primary_key=["id", "loja"])
    before = runs.ledger(load(clinic.root))
    (failure,) = [f for f in named(clinic.check(), "tables") if f.status == "failed"]
    with pytest.raises(ConfigurationError) as refused:
        ingest(load(clinic.root))
    assert failure.sentence.startswith(f"CONFIG_CHANGED: {refused.value.message}")
    assert "series.frequency was W-SUN and would be D" in failure.sentence
    assert "is (id) and would be (id, store_id)" in failure.sentence
    assert failure.next_step == refused.value.next_step
    assert runs.ledger(load(clinic.root))[: len(before)] == before


def test_no_rows(clinic: Clinic) -> None:
    clinic.fill([])
    finding = the(clinic.check(), "sales")
    assert finding.status == "failed"
    assert "SOURCE_EMPTY" in finding.sentence


def test_a_key_that_does_not_tell_rows_apart(clinic: Clinic) -> None:
    clinic.configure(source__sales__primary_key=["loja"])
    finding = the(clinic.check(), "primary key")
    assert finding.status == "failed"
    assert "CONFLICTING_DUPLICATE" in finding.sentence


def test_a_key_with_nulls(clinic: Clinic) -> None:
    clinic.sql("UPDATE vendas SET id = NULL WHERE id = '1-3'")
    assert "NULL_KEY" in the(clinic.check(), "primary key").sentence


def test_equal_rows_twice_are_no_fault_of_the_key(clinic: Clinic) -> None:
    clinic.sql("INSERT INTO vendas SELECT * FROM vendas")
    assert the(clinic.check(), "primary key").status == "ok"


@pytest.mark.parametrize("value", [1.0, "1.0"], ids=["number", "text"])
def test_a_store_that_is_a_floating_point_number(clinic: Clinic, value: object) -> None:
    rows = [(str(i), value, f"2021-01-{i:02}", 5) for i in range(1, 29)]
    clinic.fill(rows, store_type="REAL" if isinstance(value, float) else "TEXT")
    failures = [f for f in clinic.check().findings if f.status == "failed"]
    assert any("IDENTIFIER_IS_FLOAT" in f.sentence for f in failures)


@pytest.mark.parametrize("day", ["05/03/2021", "2021-13-01", "", None, "20210305", "2021-03-055"])
def test_dates_that_cannot_be_read(clinic: Clinic, day: str | None) -> None:
    clinic.fill((str(i), "A", day, 5) for i in range(20))
    finding = the(clinic.check(), "dates")
    assert finding.status == "failed"
    assert "YYYY-MM-DD" in str(finding.next_step)


def test_a_few_unreadable_rows_are_a_warning(clinic: Clinic) -> None:
    clinic.sql("UPDATE vendas SET valor = 'R$ 5,50' WHERE id = '001-7'")
    finding = the(clinic.check(), "amounts")
    assert finding.status == "warning"
    assert "R$ 5,50" in finding.sentence


def test_amounts_with_a_decimal_comma(clinic: Clinic) -> None:
    clinic.sql("UPDATE vendas SET valor = '5,50'")
    assert the(clinic.check(), "amounts").status == "failed"


@pytest.mark.parametrize("name", ["status", "Situação", "ATIVO", "LojaAtiva", "is_active"])
def test_an_attribute_that_smells_of_today(clinic: Clinic, name: str) -> None:
    clinic.sql(f'CREATE TABLE lojas (loja TEXT, "{name}" TEXT)')
    clinic.configure(
        source__stores={"from": "lojas", "columns": {"store_id": "loja"}, "attributes": [name]}
    )
    finding = the(clinic.check(), "attributes")
    assert finding.status == "warning"
    assert repr(name) in finding.sentence


@pytest.mark.parametrize("name", ["state", "city", "region", "UF", "reactivity", "fraction"])
def test_an_attribute_that_does_not(clinic: Clinic, name: str) -> None:
    clinic.sql(f"CREATE TABLE lojas (loja TEXT, {name} TEXT)")
    clinic.configure(
        source__stores={"from": "lojas", "columns": {"store_id": "loja"}, "attributes": [name]}
    )
    assert not named(clinic.check(), "attributes")


STORES = {"from": "lojas", "columns": {"store_id": "loja"}}


def test_stores_written_otherwise_than_in_the_sales(clinic: Clinic) -> None:
    clinic.sql("CREATE TABLE lojas (loja TEXT); INSERT INTO lojas VALUES ('L001'), ('L1')")
    clinic.configure(source__stores=STORES)
    found = named(clinic.check(), "source lojas")
    assert [f.status for f in found] == ["ok", "warning"]
    assert "'001'" in found[1].sentence
    assert "'L001'" in found[1].sentence


def test_a_store_with_two_rows(clinic: Clinic) -> None:
    clinic.sql("CREATE TABLE lojas (loja TEXT); INSERT INTO lojas VALUES ('001'), ('1'), ('1')")
    clinic.configure(source__stores=STORES)
    found = named(clinic.check(), "source lojas")
    assert [f.status for f in found] == ["ok", "warning"]


def test_the_frequency_of_the_dates(clinic: Clinic) -> None:
    clinic.configure(series__frequency="D", validation__step=28)
    finding = the(clinic.check(), "frequency")
    assert finding.status == "warning"
    assert "W-MON" in str(finding.next_step)


def test_months_by_their_first_day(clinic: Clinic) -> None:
    clinic.fill((str(i), "A", f"{2015 + i // 12}-{i % 12 + 1:02}-01", 5) for i in range(60))
    finding = the(clinic.check(), "frequency")
    assert (finding.status, finding.next_step) == ("warning", "series.frequency: MS")


def test_a_history_too_short_for_the_windows(clinic: Clinic) -> None:
    clinic.configure(validation__windows=40)
    finding = the(clinic.check(), "history")
    assert finding.status == "failed"
    assert "HISTORY_TOO_SHORT" in finding.sentence
    assert "windows" in str(finding.next_step)


def test_through_of_a_load_log(clinic: Clinic) -> None:
    clinic.sql("CREATE TABLE carga (completo TEXT); INSERT INTO carga VALUES ('2022-02-20')")
    clinic.configure(source__sales__through={"from": "carga", "column": "completo"})
    finding = the(clinic.check(), "through")
    assert finding.status == "ok"
    assert "2022-02-20" in finding.sentence


@pytest.mark.parametrize("content", ["", "INSERT INTO carga VALUES ('ontem')"])
def test_a_load_log_without_a_date(clinic: Clinic, content: str) -> None:
    clinic.sql(f"CREATE TABLE carga (completo TEXT); {content}")
    clinic.configure(source__sales__through={"from": "carga", "column": "completo"})
    finding = the(clinic.check(), "through")
    assert finding.status == "failed"
    assert "SOURCE_THROUGH_INVALID" in finding.sentence


def test_through_long_after_the_newest_sale(clinic: Clinic) -> None:
    clinic.configure(source__sales__through=date(2030, 1, 1))
    assert the(clinic.check(), "through").status == "warning"


def test_through_before_every_sale(clinic: Clinic) -> None:
    clinic.configure(source__sales__through=date(1999, 1, 1))
    finding = the(clinic.check(), "through")
    assert finding.status == "warning"
    assert finding.sentence == (
        "the configuration says complete through 1999-01-01, but the sales begin with 2021-01-04: "
        "none of them is complete"
    )


def test_sales_in_the_future_say_as_little_as_to_an_ingestion(clinic: Clinic) -> None:
    today = datetime.now(UTC).date()
    late = [today + timedelta(days=n) for n in (2, 60)]
    clinic.fill(
        (f"{day}", "1", day.isoformat(), 5.5)
        for day in [*(today - timedelta(weeks=w) for w in range(60)), *late]
    )
    said = ingest(load(clinic.root))
    finding = the(clinic.check(), "through")
    assert f"through {said.through}, {said.through_origin};" in finding.sentence
    assert said.through_origin == "the newest sale but 2 dated in the future"
    assert f"to {said.through}:" in the(clinic.check(), "history").sentence


def written(clinic: Clinic) -> Project:
    """One completed ingestion."""
    project = load(clinic.root)
    ingest(project)
    return project


def one_sale(project: Project, run_id: str) -> pa.Table:
    row = {"store_id": "001", "date": date(2021, 1, 10), "sales": Decimal("5.5"),
           "ingested_at": datetime(2021, 1, 11, tzinfo=UTC), "run_id": run_id}  # fmt: skip
    return pa.Table.from_pylist([row], project.specs["sales"].arrow)


def test_tables_at_the_versions_that_runs_name(clinic: Clinic) -> None:
    written(clinic)
    assert the(clinic.check(), "tables").status == "ok"


def test_tables_that_a_broken_run_left(clinic: Clinic) -> None:
    project = written(clinic)
    project.tables.merge(project.specs["sales"], one_sale(project, "killed"))
    diagnosis = clinic.check()
    assert diagnosis.healthy
    finding = the(diagnosis, "tables")
    assert finding.status == "warning"
    assert "sales" in finding.sentence


def test_a_table_that_is_gone(clinic: Clinic) -> None:
    project = written(clinic)
    shutil.rmtree(clinic.root / "lakehouse" / "main" / "storecast" / "sales")
    assert project.tables.version("sales") is None
    finding = the(clinic.check(), "tables")
    assert finding.status == "failed"
    assert "sales" in finding.sentence


class Shelf:
    """A registry with or without a champion."""

    def __init__(self, found: object) -> None:
        self.found = found

    def champion(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (None, "warning"),
        (SimpleNamespace(number="3", name="main.storecast.lojas"), "ok"),
        (RegistryError(Code.REGISTRY_UNREACHABLE, "no answer"), "failed"),
    ],
    ids=["no champion", "a champion", "no answer"],
)
def test_the_registry(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, found: object, status: str
) -> None:
    monkeypatch.setattr(registry, "of", lambda _project: Shelf(found))
    (clinic.root / "mlflow.db").touch()
    finding = the(clinic.check(), "registry")
    assert finding.status == status
    assert (status == "ok") == ("version 3" in finding.sentence)


def test_a_country_without_holidays(clinic: Clinic) -> None:
    clinic.configure(calendar={"country": "XX"})
    finding = the(clinic.check(), "configuration")
    assert finding.status == "failed"
    assert "'XX'" in finding.sentence


def test_a_subdivision_that_does_not_exist(clinic: Clinic) -> None:
    clinic.configure(calendar={"country": "BR", "subdivision": "ZZ"})
    finding = the(clinic.check(), "configuration")
    assert finding.status == "failed"
    assert "SP" in finding.sentence


@pytest.mark.parametrize(
    ("package", "installed"),
    [("deltalake", "1.6.0"), ("pandas", "3.0.1"), ("mlflow", "3.18.0"), ("deltalake", "1.4.2")],
)
def test_a_version_that_does_not_work(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, package: str, installed: str
) -> None:
    right = doctor.version
    monkeypatch.setattr(doctor, "version", lambda n: installed if n == package else right(n))
    diagnosis = clinic.check()
    assert not diagnosis.healthy
    assert f"{package} {installed}" in the(diagnosis, "versions").sentence


def test_a_missing_openmp(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "import_module", missing)
    finding = the(clinic.check(), "libraries")
    assert finding.status == "failed"
    assert "libgomp" in finding.sentence


def test_little_space(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10_000_000

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: Usage)
    assert the(clinic.check(), "disk space").status == "failed"


def test_a_folder_that_cannot_be_written(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    finding = the(clinic.check(), "project folder")
    assert finding.status == "failed"
    assert "Permission denied" in finding.sentence


def test_a_check_that_breaks_is_a_failed_finding() -> None:
    def broken() -> Iterable[Finding]:
        yield Finding("x", "ok", "so far so good")
        raise ZeroDivisionError("oh")

    findings = guarded("x", broken)
    assert [f.status for f in findings] == ["ok", "failed"]
    assert "ZeroDivisionError: oh" in findings[1].sentence


def test_a_fault_nobody_thought_of_does_not_end_the_doctor(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_project: object) -> Iterable[Finding]:
        raise RuntimeError("the roof")

    monkeypatch.setattr(doctor.source_checks, "of", broken)
    diagnosis = clinic.check()
    assert not diagnosis.healthy
    assert "the roof" in the(diagnosis, "source").sentence
    assert named(diagnosis, "tables")


def test_a_store_whose_subdivision_the_country_has_not(clinic: Clinic) -> None:
    clinic.sql("CREATE TABLE lojas (loja TEXT, uf TEXT);"
               "INSERT INTO lojas VALUES ('001', 'SP'), ('1', 'ZZ'), ('2', NULL)")  # fmt: skip
    clinic.configure(
        source__stores={"from": "lojas", "columns": {"store_id": "loja"}, "attributes": ["uf"]},
        calendar={"country": "BR", "subdivision": "uf"},
    )
    (finding,) = [f for f in named(clinic.check(), "calendar") if f.status == "warning"]
    assert "'ZZ'" in finding.sentence
    assert "store '1'" in finding.sentence
