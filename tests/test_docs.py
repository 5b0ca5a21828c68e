"""The documentation tells the truth: commands, keys, codes, links and generated pages."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import jsonschema
import nbformat
import pytest
import yaml

import storecast
from storecast.cli import cli
from storecast.configfile import load_config
from storecast.errors import Code

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
READMES = [ROOT / "README.md", ROOT / "README.pt-BR.md"]
NOT_SERVED = {"monitor", "models promote", "models rollback"}

# The keys that any configuration needs, for snippets that show a part.
REST = {
    "project": "shops",
    "source": {
        "type": "sqlite",
        "path": "sales.db",
        "sales": {
            "from": "lines",
            "primary_key": ["id"],
            "columns": {"store_id": "store", "date": "day", "sales": "amount"},
        },
    },
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, content, and the line before, of each fenced block."""
    text = page.read_text("utf-8")
    for found in re.finditer(r"([^\n]*)\n\s*```(\w*)\n(.*?)```", text, re.DOTALL):
        yield found[2], found[3], found[1]


# ------------------------------------------------------------------- generated parts


def test_the_generated_pages_are_up_to_date(make_docs: ModuleType) -> None:
    stale = [
        name_of(path) for path, text in make_docs.pages().items() if path.read_text("utf-8") != text
    ]
    assert not stale, "run `make docs`"


def test_every_key_has_a_meaning_and_no_meaning_is_left_over(make_docs: ModuleType) -> None:
    page = make_docs.keys()
    for key in make_docs._MEANING:
        assert f"| `{key}` |" in page


def test_every_code_is_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    for code in Code:
        assert f"| `{code.value}` | {code.description} |" in page


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_code_that_does_not_exist(page: Path) -> None:
    codes = {code.value for code in Code}
    # Columns of the reader's own database, in examples.
    theirs = {"DT_ABERTURA", "DT_FECHAMENTO", "DT_CADASTRO", "ID_VENDA", "CODIGO_LOJA",
              "DATA_VENDA", "CALENDARIO_PROMO", "ATUALIZADO_EM"}  # fmt: skip
    named = re.findall(r"`([A-Z]{2,}(?:_[A-Z]+)+)`", page.read_text("utf-8"))
    assert set(named) <= codes | theirs


# --------------------------------------------------------------------------- commands


def commands(page: Path) -> Iterator[str]:
    """Every command line of ours, from code spans and shell blocks."""
    if page.suffix == ".ipynb":
        cells = nbformat.read(page, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    elif page.suffix == ".md":
        text = page.read_text("utf-8")
        for language, content, _ in blocks(page):
            if language in ("", "sh"):
                yield from _ours(content.splitlines())
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    else:
        lines = [line.lstrip("# ") for line in page.read_text("utf-8").splitlines()]
        yield from _ours([re.split(r" {3,}|: ", line)[-1] for line in lines])
        yield from _ours([re.split(r" {3,}", line)[0] for line in lines])
        return
    yield from _ours(re.findall(r"`([^`\n]+)`", text))


def _ours(lines: list[str]) -> Iterator[str]:
    for line in lines:
        found = re.fullmatch(r"(?:\.venv/bin/)?storecast ([a-z].*)", line.strip())
        if found:
            yield found[1].partition("  #")[0].strip()


def understood(line: str) -> click.Command:
    """The command that a line calls; raises where it or an option does not exist."""
    command: click.Command = cli
    context = click.Context(cli)
    arguments = shlex.split(line)
    while isinstance(command, click.Group) and arguments:
        name = arguments.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"storecast {line}: no command {name!r}"
        command = found
        context = click.Context(command, parent=context, info_name=name)
    command.make_parser(context).parse_args(arguments)
    return command


DOCUMENTED = [
    *PAGES,
    *sorted(ROOT.glob("notebooks/*.ipynb")),
    ROOT / "src/storecast/demos/iowa/storecast.yaml",
]


@pytest.mark.parametrize("page", DOCUMENTED, ids=name_of)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    for line in commands(page):
        understood(line)


def test_the_search_for_commands_finds_them() -> None:
    found = list(commands(ROOT / "README.md"))
    assert "run --project demo" in found
    assert "tables export NAME --to FILE" in found
    with pytest.raises(AssertionError):
        understood("ingesst")
    with pytest.raises(click.NoSuchOption):
        understood("ingest --ful")
    assert "run" in list(commands(DOCUMENTED[-1]))


def every_command(group: click.Group = cli, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{before}{name} ")
        else:
            yield before + name


@pytest.mark.parametrize("page", READMES, ids=name_of)
def test_the_readme_names_every_command(page: Path) -> None:
    text = page.read_text("utf-8")
    for command in every_command():
        assert f"`storecast {command}" in text, command


def test_what_is_not_served_is_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {storecast.__version__}" in text
    for command in NOT_SERVED:
        assert f"`{command}`" in text


def test_every_make_target_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        spans = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
        assert set(spans) <= targets, name_of(page)


# ----------------------------------------------------------------------- code snippets


def whole(text: str, before: str) -> dict[str, Any]:
    loaded = yaml.safe_load(text)
    return {**REST, **loaded} if "part of" in before else loaded


def plain(value: Any) -> Any:
    """As an editor's YAML has it: a date is text."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.isoformat() if isinstance(value, date) else value


YAML = [
    pytest.param(content, before, id=f"{name_of(page)}-{i}")
    for page in PAGES
    for i, (language, content, before) in enumerate(blocks(page))
    if language == "yaml"
]


@pytest.mark.parametrize(("content", "before"), YAML)
def test_every_configuration_that_is_shown_is_valid(
    content: str, before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"\$\{(\w+)\}", content):
        monkeypatch.setenv(name, "given")
    raw = whole(content, before)
    file = tmp_path / "storecast.yaml"
    file.write_text(yaml.safe_dump(raw) if "part of" in before else content, "utf-8")
    config = load_config(file)
    config.layout()
    config.rules()


@pytest.mark.parametrize(("content", "before"), YAML)
def test_the_json_schema_takes_what_the_configuration_takes(content: str, before: str) -> None:
    schema = json.loads((ROOT / "src/storecast/storecast.schema.json").read_text("utf-8"))
    jsonschema.validate(plain(whole(content, before)), schema)


def test_the_json_schema_takes_the_demo_and_refuses_an_unknown_key() -> None:
    schema = json.loads((ROOT / "src/storecast/storecast.schema.json").read_text("utf-8"))
    demo = plain(yaml.safe_load((ROOT / "src/storecast/demos/iowa/storecast.yaml").read_text()))
    jsonschema.validate(demo, schema)
    demo["forecast"]["horizont"] = 3
    with pytest.raises(jsonschema.ValidationError, match="horizont"):
        jsonschema.validate(demo, schema)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_snippet_compiles_and_calls_public_names(page: Path) -> None:
    for language, content, _ in blocks(page):
        if language == "python":
            compile(content, name_of(page), "exec")
            for name in re.findall(r"\bstorecast\.(\w+)", content):
                assert name in storecast.__all__


# ------------------------------------------------------------------------------- pages


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_resolves(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_every_page_is_linked_from_the_readme_or_the_architecture() -> None:
    text = "".join((ROOT / p).read_text("utf-8") for p in ("README.md", "docs/architecture.md"))
    for page in PAGES:
        if page.name != "README.md":
            assert page.name in text, name_of(page)


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    package = ROOT / "src" / "storecast"
    rooms = {p.stem for p in package.glob("*.py")} | {
        p.parent.name for p in package.glob("*/__init__.py")
    }
    for room in rooms - {"__init__"}:
        assert f"`{room}`" in text, room


@pytest.mark.parametrize("page", READMES, ids=name_of)
def test_the_readme_attributes_the_data(page: Path) -> None:
    assert "State of Iowa, Department of Revenue" in page.read_text("utf-8")
