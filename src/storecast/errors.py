"""What can go wrong, in one place: the hierarchy and the codes.

    StorecastError                exit code 1
    ├── ConfigurationError        2: storecast.yaml, an option or an argument is wrong
    │   └── NotServedError        2: right, but not served by this version
    ├── SourceError               1: the user's database or files
    ├── ContractError             1: the rows are not what the configuration says
    ├── TableError                1: the lakehouse
    ├── ModelError                1: a model could not be fitted, packed or loaded
    ├── InputError                1: what was handed to the forecaster
    ├── RegistryError             1: MLflow
    ├── Refusal                   3: ran well and says no
    │   └── GateRefusal           3: the gate's, in deployment/result.py
    └── Interruption              130: stopped by Ctrl-C or a termination

A code is stable: it is documented in ``docs/errors.md``, never renamed, and made by the
error class that carries it. Messages are bounded in length and never hold a secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

_LONGEST = 600


class Code(StrEnum):
    """Every error and rejection code, with the sentence that documents it."""

    description: str

    def __new__(cls, value: str, description: str) -> Code:
        """Attach the documenting sentence to the code."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    # configuration and usage
    USAGE = "USAGE", "The command line is not one that storecast knows."
    CONFIG_NOT_FOUND = "CONFIG_NOT_FOUND", "No storecast.yaml in the project folder."
    CONFIG_INVALID = "CONFIG_INVALID", "storecast.yaml has one or more wrong keys or values."
    CONFIG_VARIABLE_MISSING = (
        "CONFIG_VARIABLE_MISSING",
        "storecast.yaml takes a value from an environment variable that is not set.",
    )
    CONFIG_CHANGED = (
        "CONFIG_CHANGED",
        "The configuration asks for other columns, keys or a frequency than the tables have.",
    )
    NOT_SERVED = "NOT_SERVED", "A key, value or command that this version does not serve yet."
    PROJECT_EXISTS = "PROJECT_EXISTS", "The folder already holds a project."
    DEMO_EXHAUSTED = "DEMO_EXHAUSTED", "The demo has no further delivery."
    DEMO_UNKNOWN = "DEMO_UNKNOWN", "There is no demo of that name."
    PROJECT_BUSY = "PROJECT_BUSY", "Another storecast command is writing to this project."
    INTERRUPTED = "INTERRUPTED", "The command was stopped by Ctrl-C or a signal."
    INTERNAL = "INTERNAL", "A fault of storecast itself: please report it."

    # source
    SOURCE_UNREACHABLE = "SOURCE_UNREACHABLE", "The database or folder cannot be opened."
    SOURCE_LOGIN_FAILED = "SOURCE_LOGIN_FAILED", "The database refused the user or the password."
    SOURCE_CERTIFICATE_INVALID = (
        "SOURCE_CERTIFICATE_INVALID",
        "The database's certificate is not trusted, or is for another host.",
    )
    SOURCE_INTERRUPTED = (
        "SOURCE_INTERRUPTED",
        "The connection or the reading broke off, or a file changed, while rows were read.",
    )
    EXTRA_MISSING = "EXTRA_MISSING", "An optional package that the configuration needs is absent."
    SOURCE_TABLE_NOT_FOUND = "SOURCE_TABLE_NOT_FOUND", "The table or view is not in the source."
    SOURCE_COLUMN_NOT_FOUND = "SOURCE_COLUMN_NOT_FOUND", "A configured column is not there."
    SOURCE_COLUMN_AMBIGUOUS = "SOURCE_COLUMN_AMBIGUOUS", "Two source columns share one name."
    SOURCE_QUERY_FAILED = "SOURCE_QUERY_FAILED", "The source refused or broke off the reading."
    SOURCE_EMPTY = "SOURCE_EMPTY", "The source has no sales row at all."
    SOURCE_THROUGH_INVALID = (
        "SOURCE_THROUGH_INVALID",
        "The last complete day of the source cannot be told.",
    )
    COLUMN_TYPE_INVALID = (
        "COLUMN_TYPE_INVALID",
        "A column's type cannot hold what it is configured to be.",
    )
    IDENTIFIER_IS_FLOAT = (
        "IDENTIFIER_IS_FLOAT",
        "A store identifier comes as a floating-point number: 001 would be 1.0.",
    )
    COLUMN_NAMES_COLLIDE = "COLUMN_NAMES_COLLIDE", "Two columns have one name once normalised."

    # rows, in the quarantine
    NULL_KEY = "NULL_KEY", "A part of the key is null or empty."
    NULL_DATE = "NULL_DATE", "The date is null or empty."
    DATE_NOT_ISO = "DATE_NOT_ISO", "The date is not written YYYY-MM-DD."
    DATE_NOT_IN_FORMAT = "DATE_NOT_IN_FORMAT", "The date is not written as date_format says."
    DATE_OUT_OF_RANGE = "DATE_OUT_OF_RANGE", "The date is before 1900 or after 2200."
    NULL_SALES = "NULL_SALES", "The sales amount is null or empty."
    SALES_NOT_NUMBER = "SALES_NOT_NUMBER", "The sales amount is not a number."
    SALES_NOT_FINITE = "SALES_NOT_FINITE", "The sales amount is infinite or NaN."
    SALES_TOO_LARGE = "SALES_TOO_LARGE", "The sales amount does not fit DECIMAL(18,4)."
    NUMBER_INVALID = "NUMBER_INVALID", "A covariate is not a finite number."
    TIMESTAMP_INVALID = "TIMESTAMP_INVALID", "A watermark or version date cannot be read."
    CONFLICTING_DUPLICATE = (
        "CONFLICTING_DUPLICATE",
        "Rows of one key differ and no watermark says which is newer.",
    )
    IDENTIFIER_INVALID = "IDENTIFIER_INVALID", "A store identifier has control characters."

    # ingestion as a whole
    TOO_MANY_REJECTED = "TOO_MANY_REJECTED", "More rows were rejected than max_rejected allows."
    ROWS_DO_NOT_BALANCE = "ROWS_DO_NOT_BALANCE", "Rows in and rows out do not add up."
    AMOUNTS_DO_NOT_BALANCE = "AMOUNTS_DO_NOT_BALANCE", "Amounts in and out do not add up."
    IDENTIFIERS_COLLIDE = (
        "IDENTIFIERS_COLLIDE",
        "Two store identifiers are equal only after trimming, or to the source but for case.",
    )

    # tables
    TABLE_NOT_FOUND = "TABLE_NOT_FOUND", "The table does not exist in the lakehouse."
    TABLE_DAMAGED = "TABLE_DAMAGED", "A file that the table's log names is not there any more."
    TABLE_EMPTY = "TABLE_EMPTY", "The table has no rows yet."
    TABLE_SCHEMA_MISMATCH = "TABLE_SCHEMA_MISMATCH", "Rows do not have the table's schema."
    TABLE_KEY_VIOLATION = "TABLE_KEY_VIOLATION", "A key is null or occurs twice."
    TABLE_CONSTRAINT_VIOLATION = "TABLE_CONSTRAINT_VIOLATION", "A row breaks a constraint."
    TABLE_WRITE_FAILED = "TABLE_WRITE_FAILED", "The lakehouse could not be written."
    DISK_FULL = "DISK_FULL", "No room is left where storecast writes, or a quota is used up."
    EXPORT_FORMAT_UNKNOWN = "EXPORT_FORMAT_UNKNOWN", "The export file's ending is not known."

    # history and validation
    NOTHING_INGESTED = "NOTHING_INGESTED", "No completed ingestion: there are no sales to use."
    NOT_VALIDATED = "NOT_VALIDATED", "No completed validation names a model to deploy."
    HISTORY_TOO_SHORT = "HISTORY_TOO_SHORT", "Too few complete periods for what is asked."
    NO_VARIATION = "NO_VARIATION", "Every sale is zero: there is nothing to learn or to score."
    MODEL_UNKNOWN = "MODEL_UNKNOWN", "No model of that name."
    MODEL_FAILED = "MODEL_FAILED", "A model could not be fitted or asked."
    MODEL_OUTPUT_INVALID = (
        "MODEL_OUTPUT_INVALID",
        "A model returned wrong rows, a missing column or NaN.",
    )
    RECIPE_NOT_VALIDATED = (
        "RECIPE_NOT_VALIDATED",
        "The recipe to deploy is not one that was validated.",
    )
    LEAK_AUDIT_MISSING = (
        "LEAK_AUDIT_MISSING",
        "The recipe to deploy was validated, but no leak audit has passed it.",
    )
    LEAK_FOUND = (
        "LEAK_FOUND",
        "The leak audit failed the recipe: its forecasts depend on what came after the cutoff, "
        "or cannot be shown not to.",
    )
    GATE_ROWS_DIFFER = (
        "GATE_ROWS_DIFFER",
        "Two models that the gate compares were not asked for the same rows.",
    )
    BENCHMARK_ALIGNMENT = (
        "BENCHMARK_ALIGNMENT",
        "The validation is a benchmark (align: series_end), on which nothing can be deployed.",
    )
    ROLLED_BACK = (
        "ROLLED_BACK",
        "What would be deployed is a version that was rolled back: same recipe, data, validation.",
    )
    GATE_REFUSED = (
        "GATE_REFUSED",
        "The promotion gate refused the version: a check failed. The champion serves on.",
    )
    GATE_NOT_ENOUGH_EVIDENCE = (
        "GATE_NOT_ENOUGH_EVIDENCE",
        "The promotion gate cannot tell whether the version is good enough. The champion serves "
        "on.",
    )

    # artefact, registry, forecast
    NO_CHAMPION = "NO_CHAMPION", "No model version carries the alias Champion."
    NO_PREVIOUS_CHAMPION = (
        "NO_PREVIOUS_CHAMPION",
        "There is no earlier champion to go back to: none was, or a rollback has been there.",
    )
    VERSION_UNFIT = (
        "VERSION_UNFIT",
        "The version to promote was refused by the gate or the leak audit, is damaged, or is for "
        "another frequency, horizon or other columns.",
    )
    ALIAS_NOT_SET = "ALIAS_NOT_SET", "The registry did not keep the alias that was written."
    REGISTRY_UNREACHABLE = "REGISTRY_UNREACHABLE", "MLflow cannot be reached."
    REGISTRY_DENIED = "REGISTRY_DENIED", "MLflow does not let this user do that."
    ARTIFACT_TAMPERED = "ARTIFACT_TAMPERED", "A file of the artefact is not the one packed."
    ARTIFACT_FORMAT_UNKNOWN = "ARTIFACT_FORMAT_UNKNOWN", "The artefact's format is not known."
    ARTIFACT_FILE_REFUSED = (
        "ARTIFACT_FILE_REFUSED",
        "A file of the artefact is of a kind that is never read, such as a pickle.",
    )
    ARTIFACT_CODE_MIXED = (
        "ARTIFACT_CODE_MIXED",
        "The process runs the storecast that another artefact carries, and not this one's.",
    )
    FEATURE_VERSION_UNKNOWN = (
        "FEATURE_VERSION_UNKNOWN",
        "The model was fitted on features that this storecast does not make.",
    )
    INPUT_COLUMN_MISSING = "INPUT_COLUMN_MISSING", "The forecaster's input lacks a column."
    INPUT_INVALID = "INPUT_INVALID", "The forecaster's input breaks its schema."
    INPUT_FILE_UNREADABLE = "INPUT_FILE_UNREADABLE", "The file of `--input` cannot be read."
    HORIZON_TOO_LONG = "HORIZON_TOO_LONG", "The horizon is beyond the packed one."
    CUTOFF_INVALID = "CUTOFF_INVALID", "The cutoff is not a complete period of the history."
    FUTURE_ROWS_FILLED = (
        "FUTURE_ROWS_FILLED",
        "Future rows were given for some periods of the horizon and missing for others.",
    )
    FUTURE_ROWS_IGNORED = (
        "FUTURE_ROWS_IGNORED",
        "Future rows lie beyond the horizon, or are of a store that is closed or opens after the "
        "cutoff.",
    )
    COLD_START_ALONE = (
        "COLD_START_ALONE",
        "No open store with sales is there for the cold-start rule to take after: it says zero.",
    )
    FORECAST_FAILED = "FORECAST_FAILED", "The champion could not forecast."
    FORECAST_FELL_BACK = "FORECAST_FELL_BACK", "The forecast came from a fallback (--strict)."
    FORECAST_UNKNOWN = "FORECAST_UNKNOWN", "No forecast has that id."
    NOTHING_TO_REPORT = "NOTHING_TO_REPORT", "There is no forecast or validation to report."


class StorecastError(Exception):
    """An error that a user can act on.

    Args:
        code: the stable code.
        message: what happened, in one sentence.
        where: the table, column, file, row or key that it concerns.
        expected: what would have been right.
        found: what was there instead.
        next_step: what the user can do now.
    """

    exit_code = 1

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.code = code
        self.message = _bounded(message)
        self.where = _bounded(where)
        self.expected = _bounded(expected)
        self.found = _bounded(found)
        self.next_step = _bounded(next_step)
        super().__init__(f"{code.value}: {self.message}")

    def as_dict(self) -> dict[str, Any]:
        """The ``error`` object of the JSON envelope."""
        return {
            "code": self.code.value,
            "message": self.message,
            "where": self.where,
            "expected": self.expected,
            "found": self.found,
            "next_step": self.next_step,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way back from a worker process with every field."""
        return _rebuild, (type(self), self.code, self.as_dict())


def _rebuild(cls: type[StorecastError], code: Code, fields: dict[str, Any]) -> StorecastError:
    arguments = {k: v for k, v in fields.items() if k not in ("code", "message")}
    return cls(code, fields["message"], **arguments)


def _bounded(text: str | None) -> Any:
    if text is None or len(text) <= _LONGEST:
        return text
    return text[: _LONGEST - 1] + "…"


class ConfigurationError(StorecastError):
    """storecast.yaml, an option or an argument is wrong."""

    exit_code = 2


class NotServedError(ConfigurationError):
    """Right by the documentation, but not served by this version."""

    @classmethod
    def of(cls, what: str, where: str | None = None) -> NotServedError:
        """``what`` names the command, key or value."""
        return cls(
            Code.NOT_SERVED,
            f"{what} is not served by this version of storecast",
            where=where,
            next_step="leave it out; CHANGELOG.md says which version brings it",
        )


class SourceError(StorecastError):
    """The user's database or files."""


class ContractError(StorecastError):
    """The rows are not what the configuration says."""


class TableError(StorecastError):
    """The lakehouse."""


class ModelError(StorecastError):
    """A model could not be fitted, packed or loaded."""


class InputError(StorecastError):
    """What was handed to the forecaster."""


class RegistryError(StorecastError):
    """MLflow."""


class Refusal(StorecastError):
    """Ran well and says no."""

    exit_code = 3


class Interruption(StorecastError):
    """Stopped by Ctrl-C or a termination."""

    exit_code = 130
