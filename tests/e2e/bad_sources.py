"""What a source or a configuration can have wrong, each with what a user is told.

``STOPS`` stop an ingestion: the tables stay as they were. ``ROWS`` go to the quarantine one by one.
``KEPT`` look wrong and are not: nothing is refused, and what is odd is said.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .conftest import INSERT, Shop, good_rows

Spoil = Callable[[Shop], object]


@dataclass(frozen=True)
class Stop:
    """A fault that stops the run.

    Attributes:
        spoil: makes it, in a project that has been ingested once.
        code: the error's.
        says: words of the message and of where it is.
        next_step: words of it.
        found: words of what was expected and found.
        arguments: of the command.
    """

    name: str
    spoil: Spoil
    code: str
    says: tuple[str, ...]
    next_step: str
    found: tuple[str, ...] = ()
    exit_code: int = 1
    arguments: tuple[str, ...] = ("ingest",)


@dataclass(frozen=True)
class Bad:
    """A row that is rejected.

    Attributes:
        row: id, store, day, amount.
        code: why.
        reason: words of the sentence that the quarantine keeps.
        raw: what stands in ``raw_row``, as JSON has it.
    """

    name: str
    row: tuple[Any, ...]
    code: str
    reason: tuple[str, ...]
    raw: str


@dataclass(frozen=True)
class Kept:
    """Something that looks wrong and is taken as it is.

    Attributes:
        sales: rows of the table ``sales`` that must be there: store, sales of all periods.
        says: words of what the command prints.
        result: fields of its result.
    """

    name: str
    spoil: Spoil
    sales: dict[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------------- ways to spoil


def add(*rows: tuple[Any, ...]) -> Spoil:
    return lambda shop: shop.sql(INSERT, rows)


def sql(statement: str) -> Spoil:
    return lambda shop: shop.sql(statement)


def set_(**changes: Any) -> Spoil:
    return lambda shop: shop.configure(**changes)


def both(*spoils: Spoil) -> Spoil:
    return lambda shop: [spoil(shop) for spoil in spoils]


def written(text: str) -> Spoil:
    return lambda shop: (shop.root / "storecast.yaml").write_text(text, "utf-8")


def replaced(old: str, new: str) -> Spoil:
    """Another text in ``storecast.yaml``."""

    def spoil(shop: Shop) -> None:
        file = shop.root / "storecast.yaml"
        assert old in file.read_text("utf-8")
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")

    return spoil


def asks(query: str, **changes: Any) -> Spoil:
    columns = {"store_id": "loja", "date": "dia", "sales": "valor"}
    sales = {"query": query, "primary_key": ["id"], "columns": columns}
    return set_(source__sales=sales | changes)


def files(name: str, content: bytes | str | pa.Table | None, **more: bytes | str) -> Spoil:
    """A folder of files in place of the database; ``sales.from`` is ``name``."""

    def spoil(shop: Shop) -> None:
        folder = shop.root / "in"
        folder.mkdir()
        others = {k.replace("__", "."): v for k, v in more.items()}
        for file, what in {name: content, **others}.items():
            if isinstance(what, pa.Table):
                pq.write_table(what, folder / file)
            elif what is not None:
                (folder / file).write_bytes(what.encode() if isinstance(what, str) else what)
        shop.configure(source__type="files", source__path="in", source__sales__from=name)

    return spoil


def with_stores(rows: list[tuple[Any, ...]], **changes: Any) -> Spoil:
    def spoil(shop: Shop) -> None:
        shop.sql("CREATE TABLE lojas (loja TEXT, aberta TEXT, uf TEXT)")
        shop.sql("INSERT INTO lojas VALUES (?, ?, ?)", rows)
        shop.configure(
            source__stores={
                "from": "lojas", "columns": {"store_id": "loja", "opened_on": "aberta"},
                "attributes": ["uf"],
            },
            **changes,
        )  # fmt: skip

    return spoil


def _corrupt(shop: Shop) -> None:
    with shop.database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def _garbage(shop: Shop) -> None:
    shop.database.write_bytes(b"not a database, but a text " * 40)


def _folder_instead(shop: Shop) -> None:
    shop.database.unlink()
    shop.database.mkdir()


def _not_utf8(shop: Shop) -> None:
    with sqlite3.connect(shop.database) as connection:
        connection.execute(
            "INSERT INTO vendas VALUES ('l1', CAST(X'53E36F' AS TEXT), '2021-01-04', 1)"
        )
    connection.close()


def _reals(shop: Shop) -> None:
    shop.sql("ALTER TABLE vendas RENAME TO antigas")
    shop.sql("CREATE TABLE vendas (id TEXT, loja REAL, dia TEXT, valor)")
    shop.sql(INSERT, [(i, 1.0, d, v) for i, _, d, v in good_rows(["001"])])


CSV = "id,loja,dia,valor\n"
LINES = "".join(f"{i},{s},{d},{v}\n" for i, s, d, v in good_rows())
PARQUET = pa.table(
    {
        "id": [r[0] for r in good_rows()],
        "loja": [r[1] for r in good_rows()],
        "dia": [date.fromisoformat(r[2]) for r in good_rows()],
        "valor": [Decimal(r[3]) for r in good_rows()],
    }
)
TODAY = date.today()

STOPS = (
    # ---------------------------------------------------------------- the database
    Stop("no database", lambda shop: shop.database.unlink(), "SOURCE_UNREACHABLE",
         ("vendas.db cannot be opened",), "correct source.path", ("no such file",)),
    Stop("a text in its place", _garbage, "SOURCE_UNREACHABLE",
         ("vendas.db cannot be opened",), "correct source.path", ("not a database",)),
    Stop("a folder in its place", _folder_instead, "SOURCE_UNREACHABLE",
         ("vendas.db cannot be opened",), "correct source.path", ("a folder",)),
    Stop("a damaged database", _corrupt, "SOURCE_QUERY_FAILED",
         ("vendas.db refused or broke off the reading",), "from a backup", ("malformed",)),
    Stop("text that is not UTF-8", _not_utf8, "SOURCE_QUERY_FAILED",
         ("column 'loja' of vendas", "not UTF-8"), "CAST the column", ("UTF-8",)),
    Stop("a table renamed between runs", sql("ALTER TABLE vendas RENAME TO vendas_2024"),
         "SOURCE_TABLE_NOT_FOUND", ("no table or view 'vendas'", "did you mean 'vendas_2024'?"),
         "correct the name after `from:`", ("vendas_2024",)),
    Stop("SQL for a table's name",
         set_(source__sales__from='vendas"; DROP TABLE vendas; --'), "SOURCE_TABLE_NOT_FOUND",
         ("there is no table or view 'vendas\"; DROP TABLE vendas; --'",),
         "correct the name after `from:`", ("vendas",)),
    Stop("a column renamed", sql("ALTER TABLE vendas RENAME COLUMN valor TO valores"),
         "SOURCE_COLUMN_NOT_FOUND",
         ("vendas has no column 'valor'", "did you mean 'valores'?", "source.sales"),
         "correct the names in storecast.yaml", ("id, loja, dia, valores",)),
    Stop("a view without the key",
         both(sql("CREATE VIEW v AS SELECT loja, dia, valor FROM vendas"),
              set_(source__sales__from="v")),
         "SOURCE_COLUMN_NOT_FOUND", ("v has no column 'id'",), "correct the names",
         ("v: loja, dia, valor",)),
    Stop("a view whose join repeats the key",
         both(sql("CREATE VIEW v AS SELECT id, loja, dia, valor + n AS valor FROM vendas "
                  "JOIN (SELECT 0 AS n UNION SELECT 1)"), set_(source__sales__from="v")),
         "TOO_MANY_REJECTED", ("240 of 240 rows of v were rejected", "CONFLICTING_DUPLICATE 240"),
         "Name a watermark column", ("at most 1.00%", '"id": "001-')),
    Stop("a view of a table that is gone",
         both(sql("CREATE VIEW v AS SELECT * FROM vendas; DROP TABLE vendas"),
              set_(source__sales__from="v")),
         "SOURCE_QUERY_FAILED", ("vendas.db refused",), "correct the view or query",
         ("no such table: main.vendas",)),
    Stop("a query with two columns of one name", asks("SELECT *, loja FROM vendas"),
         "SOURCE_COLUMN_AMBIGUOUS", ("query has two columns named 'loja'", "source.sales"),
         "with AS in a view or `query:`", ("id, loja, dia, valor, loja",)),
    Stop("a query with a slip", asks("SELEC * FROM vendas"), "SOURCE_QUERY_FAILED",
         ("vendas.db refused", "query"), "correct the view or query",
         ('near "SELEC": syntax error',)),
    Stop("a query that would write", asks("DELETE FROM vendas RETURNING *"),
         "SOURCE_QUERY_FAILED", ("vendas.db refused",), "only reads: SELECT", ('near "DELETE"',)),
    Stop("an empty table", sql("DELETE FROM vendas"), "SOURCE_EMPTY",
         ("vendas has no row", "source.sales"), "check source.sales", ("at least one sale",)),
    # ---------------------------------------------------------------- the rows as a whole
    Stop("dates of one other format", sql("UPDATE vendas SET dia = '13/01/2021'"),
         "TOO_MANY_REJECTED", ("120 of 120 rows of vendas", "DATE_NOT_ISO 120"), "date_format",
         ('"dia": "13/01/2021"', "at most 1.00%")),
    Stop("dates not as date_format says", set_(source__sales__date_format="%d/%m/%Y"),
         "TOO_MANY_REJECTED", ("DATE_NOT_IN_FORMAT 120",),
         "not written %d/%m/%Y, such as 24/11/2003", ('"dia": "2021-01-04"',)),
    Stop("two bad rows in a hundred", add(("b1", "001", "x", 1), ("b2", "001", "2021-01-04", "x")),
         "TOO_MANY_REJECTED",
         ("2 of 122 rows of vendas", "(1.64%)", "DATE_NOT_ISO 1", "SALES_NOT_NUMBER 1"),
         "max_rejected", ("at most 1.00% (max_rejected)",)),
    Stop("decimals with commas throughout", sql("UPDATE vendas SET valor = '12,50'"),
         "TOO_MANY_REJECTED", ("SALES_NOT_NUMBER 120",), "decimal point", ('"valor": "12,50"',)),
    Stop("store identifiers declared as floats", _reals, "IDENTIFIER_IS_FLOAT",
         ("vendas.loja", "floating-point"), "as text in the source", ("REAL",)),
    Stop("a store identifier stored as a float in a column without a type",
         both(sql("ALTER TABLE vendas RENAME TO a; CREATE TABLE vendas (id, loja, dia, valor); "
                  "INSERT INTO vendas SELECT * FROM a"), add(("f", 1.0, "2021-01-04", 1))),
         "IDENTIFIER_IS_FLOAT", ("vendas.loja",), "text in the source", ()),
    Stop("identifiers that differ in spaces alone", add(("c", "001 ", "2021-01-04", 1)),
         "IDENTIFIERS_COLLIDE", ("'001' and '001 '",), "trim the column", ()),
    Stop("identifiers that the source calls equal",
         both(sql("ALTER TABLE vendas RENAME TO a; CREATE TABLE vendas "
                  "(id TEXT, loja TEXT COLLATE NOCASE, dia TEXT, valor); "
                  "INSERT INTO vendas SELECT id, 'Loja' || loja, dia, valor FROM a"),
              add(("c", "LOJA001", "2021-01-04", 1))),
         "IDENTIFIERS_COLLIDE", ("'LOJA001' and 'Loja001' are one to the source",
                                 "collation of vendas.loja"),
         "write each store in one way", ()),
    Stop("a sum that does not fit",
         add(*((f"big{i}", "001", "2021-01-04", "99999999999999") for i in range(2))),
         "SALES_TOO_LARGE", ("DECIMAL(18,4)",), "correct the amounts in the source",
         ("less than 100,000,000,000,000", "99999999999999.0000 of store '001' on 2021-01-04")),
    Stop("nothing but the future",
         sql(f"UPDATE vendas SET dia = '{TODAY + timedelta(days=9)}'"), "SOURCE_THROUGH_INVALID",
         ("no accepted sale", "source.sales.through"), "set source.sales.through", ()),
    Stop("a load log of words",
         both(sql("CREATE TABLE carga (ate); INSERT INTO carga VALUES ('ontem')"),
              set_(source__sales__through={"from": "carga", "column": "ate"})),
         "SOURCE_THROUGH_INVALID", ("carga.ate", "source.sales.through"), "mend the load log",
         ("dates YYYY-MM-DD", "ontem")),
    Stop("a load log that is not there",
         set_(source__sales__through={"from": "carga", "column": "ate"}),
         "SOURCE_TABLE_NOT_FOUND", ("no table or view 'carga'",),
         "correct the name after `from:`", ("vendas",)),
    Stop("an opening date that is none", with_stores([("001", "desde sempre", "PE")]),
         "TOO_MANY_REJECTED", ("1 of 1 rows of lojas", "source.stores", "DATE_NOT_ISO 1"),
         "date_format", ('"aberta": "desde sempre"',)),
    # ---------------------------------------------------------------- files
    Stop("no folder", set_(source__type="files", source__path="in", source__sales__from="v.csv"),
         "SOURCE_UNREACHABLE", ("no folder 'in'",), "correct source.path",
         ("parquet or CSV files",)),
    Stop("no such file", both(files("v.csv", CSV), set_(
             source__type="files", source__path="in", source__sales__from="w.csv")),
         "SOURCE_TABLE_NOT_FOUND", ("no file 'w.csv' in in", "did you mean 'v.csv'?"),
         "correct the name after `from:`", ("v.csv",)),
    Stop("a file outside the folder", both(files("v.csv", CSV), set_(
             source__type="files", source__path="in", source__sales__from="../vendas.csv")),
         "SOURCE_TABLE_NOT_FOUND", ("no file '../vendas.csv'",), "correct the name", ("v.csv",)),
    Stop("an empty CSV", files("v.csv", ""), "SOURCE_EMPTY", ("v.csv has no header line",),
         "write the column names in the first line", ()),
    Stop("a CSV in Latin-1", files("v.csv", (CSV + "1,São,2021-01-04,5\n").encode("latin-1")),
         "SOURCE_QUERY_FAILED", ("v.csv cannot be read",), "save the CSV as UTF-8", ("UTF-8",)),
    Stop("a CSV in UTF-16", files("v.csv", (CSV + LINES).encode("utf-16")),
         "SOURCE_QUERY_FAILED", ("v.csv cannot be read",), "save the CSV as UTF-8", ("UTF-8",)),
    Stop("ragged lines", files("v.csv", CSV + "1,001,2021-01-04,5\n2,001,2021-01-11,7,50\n"),
         "SOURCE_QUERY_FAILED", ("v.csv cannot be read",), "with quotes around fields",
         ("Expected 4 columns, got 5", "2,001,2021-01-11,7,50")),
    Stop("a header that is no line", files("v.csv", 'id,loja,dia,"valor\nx"\n1,001,2021-01-04,5\n'),
         "SOURCE_QUERY_FAILED", ("v.csv cannot be read",), "save the CSV",
         ("the first line", 'id,loja,dia,"valor')),
    Stop("a column twice", files("v.csv", "id,loja,dia,valor,loja\n1,001,2021-01-04,5,1\n"),
         "SOURCE_COLUMN_AMBIGUOUS", ("v.csv has two columns named 'loja'",), "in a file's header",
         ("id, loja, dia, valor, loja",)),
    Stop("a parquet file that is none", files("v.parquet", CSV + LINES), "SOURCE_QUERY_FAILED",
         ("v.parquet cannot be read",), "write the file anew", ("a parquet file",)),
    Stop("a date that is a number",
         files("v.parquet", PARQUET.set_column(2, "dia", pa.array([20210104] * len(PARQUET)))),
         "COLUMN_TYPE_INVALID", ("v.parquet.dia: its type is int64", "source.sales: dia"),
         "another column", ("a date, a timestamp, or text YYYY-MM-DD",)),
    Stop("an amount that is a yes or no",
         files("v.parquet", PARQUET.set_column(3, "valor", pa.array([True] * len(PARQUET)))),
         "COLUMN_TYPE_INVALID", ("v.parquet.valor: its type is bool", "source.sales: valor"),
         "another column", ("a number, or text that is one",)),
    Stop("files that do not agree",
         files("v*.csv", None, v1__csv=CSV + LINES, v2__csv="id,loja,dia,total\n"),
         "SOURCE_COLUMN_NOT_FOUND", ("v1.csv and v2.csv have different columns",),
         "make the files alike", ("not in both: total, valor",)),
    # ---------------------------------------------------------------- the configuration
    Stop("no configuration", lambda shop: (shop.root / "storecast.yaml").unlink(),
         "CONFIG_NOT_FOUND", ("no storecast.yaml",), "storecast init", exit_code=2),
    Stop("YAML with a slip", written("project: [lojas\n"), "CONFIG_INVALID", ("line 2",),
         "mend the file", exit_code=2),
    Stop("a key written twice", replaced("project: lojas", "project: lojas\nproject: outras"),
         "CONFIG_INVALID", ("line 2: the key 'project' is written twice",), "mend the file",
         exit_code=2),
    Stop("an unknown key", set_(forecast__horizont=8), "CONFIG_INVALID",
         ("forecast.horizont: unknown key; did you mean 'horizon'?",), "docs/configuration.md",
         exit_code=2),
    Stop("values of the wrong type, all told at once",
         set_(forecast__horizon="many", max_rejected="none", series__frequency="weekly"),
         "CONFIG_INVALID",
         ("forecast.horizon:", "valid integer", "max_rejected:", "valid number",
          "series.frequency: should be D, W-SUN"), "docs/configuration.md", exit_code=2),
    Stop("two columns of one name once normalised",
         set_(source__stores={
             "from": "lojas", "columns": {"store_id": "loja"}, "attributes": ["Região", "regiao"]}),
         "COLUMN_NAMES_COLLIDE", ("'regiao'", "'Região'"), "rename one", exit_code=2),
    Stop("a variable that is not set", set_(source__path="${VENDAS_DB_UNSET}"),
         "CONFIG_VARIABLE_MISSING", ("VENDAS_DB_UNSET is not set", "source.path"),
         "export VENDAS_DB_UNSET=", exit_code=2),
    Stop("another frequency than the tables'", set_(series__frequency="MS"), "CONFIG_CHANGED",
         ("series.frequency", "W-SUN", "MS"), "schema", exit_code=2),
    Stop("another key than the tables'", set_(source__sales__primary_key=["id", "loja"]),
         "CONFIG_CHANGED", ("transactions", "key"), "schema", exit_code=2),
    Stop("an option that is none", lambda shop: None, "USAGE", ("--fulll",), "--help",
         exit_code=2, arguments=("ingest", "--fulll")),
    Stop("a setting without a value", lambda shop: None, "USAGE",
         ("'forecast.horizon' is not key.path=value",), "storecast --help",
         ("--set forecast.horizon=8",), exit_code=2,
         arguments=("ingest", "--set", "forecast.horizon")),
)  # fmt: skip

DAY = "2021-01-04"
ROWS = (
    Bad("a date written day first", ("x", "001", "04/01/2021", 1), "DATE_NOT_ISO",
        ("vendas.dia", "YYYY-MM-DD", "date_format"), '"dia": "04/01/2021"'),
    Bad("a date in words", ("x", "001", "4 Jan 2021", 1), "DATE_NOT_ISO",
        ("vendas.dia", "YYYY-MM-DD"), '"dia": "4 Jan 2021"'),
    Bad("a date without dashes", ("x", "001", "20210104", 1), "DATE_NOT_ISO",
        ("vendas.dia",), '"dia": "20210104"'),
    Bad("a date as a spreadsheet counts it", ("x", "001", 44200, 1), "DATE_NOT_ISO",
        ("vendas.dia",), '"dia": "44200"'),
    Bad("a day that is not in the calendar", ("x", "001", "2021-02-30", 1), "DATE_NOT_ISO",
        ("vendas.dia",), '"dia": "2021-02-30"'),
    Bad("a clock with a zone's name", ("x", "001", f"{DAY} 10:00 BRT", 1), "DATE_NOT_ISO",
        ("vendas.dia",), '"dia": "2021-01-04 10:00 BRT"'),
    Bad("the year 1753", ("x", "001", "1753-01-01", 1), "DATE_OUT_OF_RANGE",
        ("vendas.dia", "before 1900 or after 2200", "in the source"), '"dia": "1753-01-01"'),
    Bad("the year 9999", ("x", "001", "9999-12-31", 1), "DATE_OUT_OF_RANGE",
        ("vendas.dia",), '"dia": "9999-12-31"'),
    Bad("no date", ("x", "001", None, 1), "NULL_DATE", ("vendas.dia", "its date"), '"dia": null'),
    Bad("no store", ("x", None, DAY, 1), "NULL_KEY", ("vendas.loja", "its key"), '"loja": null'),
    Bad("an empty store", ("x", "", DAY, 1), "NULL_KEY", ("vendas.loja",), '"loja": ""'),
    Bad("a store of spaces", ("x", "  ", DAY, 1), "NULL_KEY", ("vendas.loja",), '"loja": "  "'),
    Bad("no key", (None, "001", DAY, 1), "NULL_KEY", ("vendas.id", "its key"), '"id": null'),
    Bad("an empty key", ("", "001", DAY, 1), "NULL_KEY", ("vendas.id",), '"id": ""'),
    Bad("a store with a line end", ("x", "00\n1", DAY, 1), "IDENTIFIER_INVALID",
        ("vendas.loja", "control characters", "line ends"), '"loja": "00\\n1"'),
    Bad("a store with a zero byte", ("x", "00\x001", DAY, 1), "IDENTIFIER_INVALID",
        ("vendas.loja",), "00\\u00001"),
    Bad("a store that is a blob", ("x", b"001", DAY, 1), "IDENTIFIER_INVALID",
        ("vendas.loja",), '"loja": "\\u0001303031"'),
    Bad("no amount", ("x", "001", DAY, None), "NULL_SALES", ("vendas.valor", "its amount"),
        '"valor": null'),
    Bad("a decimal comma", ("x", "001", DAY, "12,50"), "SALES_NOT_NUMBER",
        ("vendas.valor", "decimal point"), '"valor": "12,50"'),
    Bad("a currency's sign", ("x", "001", DAY, "R$ 12.50"), "SALES_NOT_NUMBER",
        ("vendas.valor", "decimal point"), '"valor": "R$ 12.50"'),
    Bad("an amount that is a blob", ("x", "001", DAY, b"12"), "SALES_NOT_NUMBER",
        ("vendas.valor",), '"valor": "\\u00013132"'),
    Bad("infinite sales", ("x", "001", DAY, float("inf")), "SALES_NOT_FINITE",
        ("vendas.valor", "infinite or NaN"), '"valor": "Inf"'),
    Bad("NaN for sales", ("x", "001", DAY, "NaN"), "SALES_NOT_FINITE",
        ("vendas.valor",), '"valor": "NaN"'),
    Bad("enormous sales", ("x", "001", DAY, 1e15), "SALES_TOO_LARGE",
        ("vendas.valor", "DECIMAL(18,4)"), '"valor": "1000000000000000.0"'),
)  # fmt: skip


def _odd_names(shop: Shop) -> None:
    shop.sql(
        'ALTER TABLE vendas RENAME TO "order by"; '
        'ALTER TABLE "order by" RENAME COLUMN loja TO "select"; '
        'ALTER TABLE "order by" RENAME COLUMN dia TO "it\'s ""so"""; '
        'ALTER TABLE "order by" RENAME COLUMN valor TO "valor líquido"'
    )
    shop.configure(
        source__sales__from="order by",
        source__sales__columns={
            "store_id": "select", "date": 'it\'s "so"', "sales": "valor líquido",
        },
    )  # fmt: skip


INJECTION = "'; DROP TABLE sales; --"

KEPT = (
    Kept("SQL in a store's name", add(("s", INJECTION, DAY, 7)), {INJECTION: "7"}),
    Kept("a store with quotes and accents", add(("s", "São \"João\" d'Água", DAY, 7)),
         {"São \"João\" d'Água": "7"}),
    Kept("words of SQL and quotes for names", _odd_names, {},
         result={"rows_read": 120, "rows_rejected": 0}),
    Kept("a date with a clock and a zone counts as written",
         add(("s", "tz", "2021-01-10T23:30:00-03:00", 7), ("t", "tz", "2021-01-10 00:00:00Z", 1)),
         {"tz": "8"}),
    Kept("returns: sales below zero", add(("s", "neg", DAY, "-12.5")), {"neg": "-12.5"}),
    Kept("the largest amount", add(("s", "big", DAY, "99999999999999.9999")),
         {"big": "99999999999999.9999"}),
    Kept("a sale in the future is stored and completes nothing",
         add(("s", "001", str(TODAY + timedelta(days=99)), 1)), {},
         ("1 dated in the future",), {"through": good_rows()[-1][2]}),
    Kept("stores without a row", with_stores([("001", "2019-05-01", "PE"), ("z", "", None)]), {},
         ("1 store with sales has no store row: 1",), {"stores_without_row": 1}),
    Kept("copies of a row", add(good_rows()[0], good_rows()[0]), {},
         ("2 rows were copies",), {"rows_deduplicated": 2, "rows_rejected": 0}),
    Kept("dates of another format that the configuration names",
         both(sql("UPDATE vendas SET dia = "
                  "substr(dia, 9) || '/' || substr(dia, 6, 2) || '/' || substr(dia, 1, 4)"),
              set_(source__sales__date_format="%d/%m/%Y")), {},
         result={"rows_unchanged": 120, "rows_rejected": 0}),
    Kept("a CSV with semicolons, quotes and a byte-order mark",
         files("v.csv", "\ufeffid;loja;dia;valor\n1;\"a;b\";2021-01-04;5\n2;\"\"\"c\"\"\";"
               "2021-01-04;6\n"), {"a;b": "5", '"c"': "6"}),
)  # fmt: skip
