from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from storecast.demos.iowa import deliveries, story
from storecast.errors import Code, ConfigurationError
from storecast.setup.init import InitResult, advance_demo, init_demo, init_from


def written(result: InitResult) -> dict:
    return yaml.safe_load(result.configuration.read_text("utf-8"))


def daily(days: int = 400, start: date = date(2021, 1, 1)) -> list[date]:
    return [start + timedelta(days=number) for number in range(days)]


@pytest.fixture
def quick_build(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The demo's database without its old lines, which no delivery touches."""
    built: list[Path] = []
    real = deliveries.build

    def build(database: Path) -> None:
        built.append(database)
        real(database)

    monkeypatch.setattr(story, "settled", lambda: story.unsettled(0).clear())
    monkeypatch.setattr(deliveries, "build", build)
    return built


class TestDemo:
    def test_writes_a_project_and_plays_it(self, tmp_path: Path, quick_build: list[Path]):
        result = init_demo(tmp_path / "demo", "iowa")
        assert result.created
        assert {entry.name for entry in result.directory.iterdir()} == {"storecast.yaml", "iowa.db"}
        assert written(result)["source"]["path"] == result.source.name
        made = advance_demo(result.directory, 2)
        assert (made.delivered, made.remaining) == (2, story.DELIVERIES - 2)
        assert made.complete_through == date(2022, 9, 18)
        assert min(made.lines_added, made.lines_corrected, made.lines_cancelled) > 0

    def test_a_second_time_is_refused_or_goes_on(self, tmp_path: Path, quick_build: list[Path]):
        result = init_demo(tmp_path, "iowa")
        advance_demo(tmp_path, 1)
        result.configuration.write_text(result.configuration.read_text("utf-8") + "# mine\n")
        before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}
        with pytest.raises(ConfigurationError) as refused:
            init_demo(tmp_path, "iowa")
        assert refused.value.code == Code.PROJECT_EXISTS
        assert not init_demo(tmp_path, "iowa", keep=True).created
        assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before
        assert len(quick_build) == 1

        result.source.unlink()
        init_demo(tmp_path, "iowa", keep=True)
        assert len(quick_build) == 2
        assert result.configuration.read_text("utf-8").endswith("# mine\n")

    def test_a_database_from_a_killed_init_is_kept(self, tmp_path: Path, quick_build: list[Path]):
        init_demo(tmp_path, "iowa").configuration.unlink()
        assert init_demo(tmp_path, "iowa").created
        assert len(quick_build) == 1

    def test_another_project_is_never_filled(self, tmp_path: Path, quick_build: list[Path]):
        (tmp_path / "storecast.yaml").write_text("project: mine\nsource: {path: mine.db}\n")
        with pytest.raises(ConfigurationError) as refused:
            init_demo(tmp_path, "iowa", keep=True)
        assert refused.value.code == Code.PROJECT_EXISTS
        assert not quick_build

    def test_unknown_demos_are_named(self, tmp_path: Path):
        with pytest.raises(ConfigurationError) as refused:
            init_demo(tmp_path, "ohio")
        assert refused.value.code == Code.DEMO_UNKNOWN
        with pytest.raises(ConfigurationError) as refused:
            advance_demo(tmp_path, 1)
        assert refused.value.code == Code.DEMO_UNKNOWN
        assert not list(tmp_path.iterdir())

    def test_the_configuration_is_valid(self, tmp_path: Path, quick_build: list[Path]):
        from storecast.configfile import load_config

        config = load_config(init_demo(tmp_path, "iowa").configuration)
        assert config.series.frequency == "W-SUN"
        assert config.currency == "USD"


class TestFrom:
    def test_store_001_stays_001(self, tmp_path: Path):
        file = tmp_path / "my sales.csv"
        rows = [f"{store},{day},12.50" for day in daily() for store in ("001", "1", "1e5", "NULL")]
        file.write_text("\n".join(["store,date,sales", *rows]) + "\n")
        result = init_from(tmp_path / "project", file)
        config = written(result)
        assert config["source"]["sales"]["columns"] == {
            "store_id": "store",
            "date": "date",
            "sales": "sales",
        }
        assert config["source"]["sales"]["primary_key"] == ["store", "date"]
        assert config["source"]["path"] == "source"
        assert config["series"]["frequency"] == "D"
        assert config["forecast"]["horizon"] == 31
        # Nothing had to be made plain, so the copy is the file.
        copy = result.directory / "source" / config["source"]["sales"]["from"]
        assert copy == result.source
        assert copy.read_bytes() == file.read_bytes()

    def test_semicolons_and_portuguese(self, tmp_path: Path):
        file = tmp_path / "vendas.csv"
        rows = [
            f'{number:06};{store:03};{day:%d/%m/%Y};"R$ 1.{store:03},50";São João'
            for number, (day, store) in enumerate((d, s) for d in daily() for s in (1, 2, 2))
        ]
        text = "\n".join(["ID_VENDA;CÓDIGO_LOJA;DATA_VENDA;VALOR;CIDADE", *rows]) + "\n"
        file.write_text(text, encoding="utf-8-sig")
        result = init_from(tmp_path / "project", file)
        config = written(result)
        sales = config["source"]["sales"]
        assert sales["columns"] == {
            "store_id": "CÓDIGO_LOJA",
            "date": "DATA_VENDA",
            "sales": "VALOR",
        }
        assert sales["primary_key"] == ["ID_VENDA"]
        assert (config["locale"], config["currency"]) == ("pt-BR", "BRL")
        assert config["calendar"] == {"country": "BR"}
        copy = pl.read_csv(result.source, infer_schema_length=0)
        assert copy.row(0) == ("000000", "001", "2021-01-01", "1001.50", "São João")
        assert copy.height == len(rows)
        assert any("YYYY-MM-DD" in note for note in result.notes)

    def test_few_dates_that_could_be_two_days_are_left_to_the_quarantine(self, tmp_path: Path):
        file = tmp_path / "mostly.csv"
        rows = [f"{store},{day},5" for day in daily() for store in ("001", "002")]
        rows[7] = "002,03/01/2021,5"
        file.write_text("\n".join(["store,date,sales", *rows]) + "\n")
        result = init_from(tmp_path / "project", file)
        assert result.source.read_bytes() == file.read_bytes()
        assert any("1 date cannot be read, such as '03/01/2021'" in n for n in result.notes)
        assert not any("YYYY-MM-DD" in note for note in result.notes)

    def test_many_dates_that_could_be_two_days_are_asked_by_one_of_them(self, tmp_path: Path):
        file = tmp_path / "half.csv"
        rows = [f"001,{day},5" for day in daily()]
        rows[50:100] = [f"001,{day:%d/%m/%Y},5" for day in daily(500) if day.day < 13][:50]
        file.write_text("\n".join(["store,date,sales", *rows]) + "\n")
        with pytest.raises(ConfigurationError) as refused:
            init_from(tmp_path / "project", file)
        assert refused.value.code is Code.DATE_NOT_ISO
        assert refused.value.found == "01/01/2021"

    def test_weeks_by_name_and_last_day(self, tmp_path: Path):
        file = tmp_path / "weekly.csv"
        weeks = [date(2019, 1, 5) + timedelta(weeks=number) for number in range(160)]
        rows = [f"{day},{shop},{7}" for day in weeks for shop in ("A", "B")]
        file.write_text("\n".join(["week,shop,revenue", *rows]))
        config = written(init_from(tmp_path / "project", file))
        assert config["series"]["frequency"] == "W-SAT"
        assert config["forecast"]["horizon"] == 8
        windows, step = config["validation"]["windows"], config["validation"]["step"]
        assert 160 - 8 - (windows - 1) * step >= 53, "a season to learn from is left"

    def test_months_by_first_day_from_parquet(self, tmp_path: Path):
        file = tmp_path / "retail.parquet"
        months = pl.date_range(date(2010, 1, 1), date(2018, 12, 1), "1mo", eager=True)
        pl.concat(
            [
                pl.DataFrame({"store_id": "A1", "date": months, "sales": 1.5, "state": "NSW"}),
                pl.DataFrame({"store_id": "B2", "date": months, "sales": 2.5, "state": "VIC"}),
            ]
        ).write_parquet(file)
        result = init_from(tmp_path / "project", file)
        config = written(result)
        assert config["series"]["frequency"] == "MS"
        assert config["forecast"]["horizon"] == 6
        # Else the newest date, the first of December, would leave December incomplete.
        assert config["source"]["sales"]["through"] == date(2018, 12, 31)
        assert result.source.read_bytes() == file.read_bytes()

    def test_by_content_where_names_say_nothing(self, tmp_path: Path):
        file = tmp_path / "x.csv"
        rows = [f"{day},{name},{3.5}" for day in daily(60) for name in ("north", "south")]
        file.write_text("\n".join(["a,b,c", *rows]))
        columns = written(init_from(tmp_path / "project", file))["source"]["sales"]["columns"]
        assert columns == {"store_id": "b", "date": "a", "sales": "c"}

    def test_shop_day_and_product(self, tmp_path: Path):
        file = tmp_path / "x.csv"
        rows = [
            f"{s},{day},{family},{n}"
            for n, day in enumerate(daily(60))
            for s in "12"
            for family in "ab"
        ]
        file.write_text("\n".join(["store_nbr,date,family,sales", *rows]))
        config = written(init_from(tmp_path / "project", file))
        assert config["source"]["sales"]["primary_key"] == ["store_nbr", "date", "family"]

    @pytest.mark.parametrize(
        ("header", "row", "code", "said"),
        [
            (
                "colour,date,shape",
                "red,2021-01-{day:02},round",
                "SOURCE_COLUMN_NOT_FOUND",
                "colour",
            ),
            ("store,date,sales", "1,2021-01-01,5", "TABLE_KEY_VIOLATION", "store 1"),
            ("store,date,sales", "1,{month:02}/{month:02}/2021,5", "DATE_NOT_ISO", "/2021"),
            ("store,date,sales", '1,2021-01-{day:02},"1,234"', "SALES_NOT_NUMBER", "1,234"),
        ],
    )
    def test_what_cannot_be_told_is_asked(
        self, tmp_path: Path, header: str, row: str, code: str, said: str
    ):
        file = tmp_path / "x.csv"
        rows = [row.format(day=number, month=number % 12 + 1) for number in range(1, 13)]
        file.write_text("\n".join([header, *rows]))
        with pytest.raises(ConfigurationError) as refused:
            init_from(tmp_path / "project", file)
        assert refused.value.code.value == code
        assert said in str(refused.value.found)
        assert refused.value.next_step
        assert not (tmp_path / "project").exists()

    def test_one_row_is_too_little_history(self, tmp_path: Path):
        file = tmp_path / "x.csv"
        file.write_text("store,date,sales\n1,2021-01-01,5\n")
        with pytest.raises(ConfigurationError) as refused:
            init_from(tmp_path / "project", file)
        assert refused.value.code == Code.HISTORY_TOO_SHORT

    def test_a_floating_store_is_refused(self, tmp_path: Path):
        file = tmp_path / "x.parquet"
        pl.DataFrame({"store": 1.0, "date": daily(60), "sales": 3.5}).write_parquet(file)
        with pytest.raises(ConfigurationError) as refused:
            init_from(tmp_path / "project", file)
        assert refused.value.code == Code.IDENTIFIER_IS_FLOAT

    @pytest.mark.parametrize(
        ("name", "content", "code"),
        [
            ("missing.csv", None, Code.SOURCE_UNREACHABLE),
            ("empty.csv", b"", Code.SOURCE_EMPTY),
            ("header.csv", b"store,date,sales\n", Code.SOURCE_EMPTY),
            (
                "latin.csv",
                "loja,data,valor\nS\u00e3o,2021-01-01,1\n".encode("latin-1"),
                Code.SOURCE_UNREACHABLE,
            ),
            ("broken.parquet", b"PAR1", Code.SOURCE_UNREACHABLE),
            ("sheet.xlsx", b"", Code.USAGE),
        ],
    )
    def test_files_that_cannot_be_read(
        self, tmp_path: Path, name: str, content: bytes | None, code: Code
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError) as refused:
            init_from(tmp_path / "project", tmp_path / name)
        assert refused.value.code == code

    def test_what_cannot_be_read_as_an_amount_is_left_for_the_quarantine(self, tmp_path: Path):
        file = tmp_path / "x.csv"
        rows = [f'1;{day};"1.000,5"' for day in daily(60)]
        file.write_text("\n".join(["loja;data;valor", *rows, "1;2022-01-01;n/a", "1;sem data;2,5"]))
        copy = pl.read_csv(init_from(tmp_path / "p", file).source, infer_schema_length=0)
        assert copy["valor"].to_list()[-3:] == ["1000.5", "n/a", "2.5"]
        assert copy["data"].to_list()[-1] == "sem data"

    def test_a_second_project_in_one_folder_is_refused(self, tmp_path: Path):
        file = tmp_path / "x.csv"
        file.write_text("\n".join(["store,date,sales", *(f"1,{day},1" for day in daily(60))]))
        init_from(tmp_path / "project", file)
        with pytest.raises(ConfigurationError) as refused:
            init_from(tmp_path / "project", file)
        assert refused.value.code == Code.PROJECT_EXISTS

    def test_the_users_own_file_in_source_is_never_overwritten(self, tmp_path: Path):
        folder = tmp_path / "source"
        folder.mkdir()
        mine = folder / "sales.csv"
        mine.write_text("\n".join(["loja;data;valor", *(f"1;{day};1" for day in daily(60))]))
        before = mine.read_bytes()
        result = init_from(tmp_path, mine)
        assert mine.read_bytes() == before
        assert result.source.name == "sales_2.csv"
        # And after a kill before the configuration, the same copy serves.
        result.configuration.unlink()
        assert init_from(tmp_path, mine).source == result.source
        assert sorted(p.name for p in folder.iterdir()) == ["sales.csv", "sales_2.csv"]

    def test_names_that_yaml_would_misread(self, tmp_path: Path):
        file = tmp_path / "2024: sales #1.csv"
        rows = [f"A,{day},1,{number}" for number, day in enumerate(daily(60))]
        file.write_text(
            "\n".join(['store: no,"date, day",on,no', *rows]).replace(",on,", ",sales # 1,")
        )
        config = written(init_from(tmp_path / "project", file))
        columns = config["source"]["sales"]["columns"]
        assert columns == {"store_id": "store: no", "date": "date, day", "sales": "sales # 1"}

    @pytest.mark.parametrize("days", [8, 30, 100, 400, 1500])
    def test_windows_fit_every_length_of_history(self, tmp_path: Path, days: int):
        from storecast.configfile import load_config

        file = tmp_path / "x.csv"
        file.write_text("\n".join(["store,date,sales", *(f"1,{day},1" for day in daily(days))]))
        validation = load_config(init_from(tmp_path / "project", file).configuration)
        step = 31 if validation.validation.step == "MS" else validation.validation.step
        reach = validation.forecast.horizon + (validation.validation.windows - 1) * step
        assert reach < days
        assert validation.validation.warmup < validation.validation.windows


def test_a_project_can_be_moved(tmp_path: Path):
    file = tmp_path / "x.csv"
    file.write_text("\n".join(["store,date,sales", *(f"1,{day},1" for day in daily(60))]))
    init_from(tmp_path / "project", file)
    moved = Path(shutil.move(tmp_path / "project", tmp_path / "elsewhere"))
    assert str(tmp_path) not in (moved / "storecast.yaml").read_text("utf-8")
