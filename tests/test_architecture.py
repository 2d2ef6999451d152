"""The house is as it says it is: imports point down, siblings do not know each other, rooms stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "records",
        "identity",
        "resources",
        "arrow",
        "digest",
        "paths",
        "keyset",
        "mark",
        "yamlfile",
        "settings",
        "urls",
        "redaction",
        "addresses",
        "modelspec",
        "text",
        "markdown",
    ),
    ("engines", "store", "constitution", "prompts", "data", "evidence"),
    ("critique", "judge", "export", "hygiene", "report", "breaker"),
    ("rows", "pipeline", "train", "evaluate", "tiny"),
    ("cluster",),
    ("jobs",),
    ("loop",),
    ("cli",),
)
"""Level 0 first. A module may import from lower levels, and from itself; level 0's members may know each other."""

HEAVY = {
    "torch",
    "datasets",
    "pyarrow",
    "numpy",
    "aiohttp",
    "pydantic",
    "transformers",
    "rich",
    "ray",
    "fsspec",
    "trl",
    "matplotlib",
}
FILES = sorted((ROOT / "cai").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "cai").parts[0].removesuffix(".py")


def level(name: str) -> int:
    found = [number for number, rooms in enumerate(LEVELS) if name in rooms]
    assert found, f"cai.{name} has no level; give it one here and in the README"
    return found[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cai."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cai.")}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for other in imported_rooms(path) - {here}:
        assert level(other) < level(here) or level(other) == level(here) == 0, f"cai.{here} imports cai.{other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 350
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 60, node.name
    assert not tree.body or ast.get_docstring(tree), "a module's docstring is its contract"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom cai.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_nothing_but_the_oracle_is_taken_from_the_embedded_model() -> None:
    # Its figures stand beside the judge's in an evaluation; nobody who generates or trains may ask it.
    knowing = {path.relative_to(ROOT / "cai").as_posix() for path in FILES if "tiny" in imported_rooms(path)}
    assert {path for path in knowing if not path.startswith("tiny/")} == {"jobs/evaluate.py"}
