"""The notebooks: Portuguese text around calls of the package, from start to end on the demo."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from storecast.setup.init import init_demo

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = ("1_ingestao_features", "2_validacao_modelos", "3_treino_final_deploy",
         "4_inferencia_recorrente")  # fmt: skip


def notebook(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(name: str) -> list[str]:
    return [cell.source for cell in notebook(name).cells if cell.cell_type == "code"]


def test_there_are_four() -> None:
    assert tuple(sorted(p.stem for p in FOLDER.glob("*.ipynb"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_defines_nothing(name: str) -> None:
    forbidden = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
    for source in code(name):
        found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, forbidden)]
        assert not found, source


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_imports_the_package(name: str) -> None:
    tree = ast.parse("\n".join(code(name)))
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"os", "polars", "storecast"}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs(name: str) -> None:
    nbformat.validate(notebook(name))
    for cell in notebook(name).cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


@pytest.mark.slow
def test_the_notebooks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    project = tmp_path / "demo"
    init_demo(project, "iowa")
    file = project / "storecast.yaml"
    raw = yaml.safe_load(file.read_text("utf-8"))
    raw["training"]["from"] = "2019-12-30"
    raw["validation"].update(windows=4, warmup=1)
    file.write_text(yaml.safe_dump(raw, sort_keys=False), "utf-8")
    monkeypatch.setenv("STORECAST_PROJECT", str(project))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in NAMES:
        ran = notebook(name)
        NotebookClient(ran, timeout=300, kernel_name="python3").execute(cwd=str(FOLDER))
        for cell in ran.cells:
            if cell.cell_type == "code" and "import" not in cell.source.splitlines()[0]:
                assert cell.outputs, f"{name} shows nothing for:\n{cell.source}"
    assert list((project / "reports").glob("*.html"))
