"""The house is as it says it is: imports point down, verbs do not know each other, files hold one thought."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("models", "constitution", "drawing"),
    ("method",),
    ("rundir",),
    ("data",),
    ("pipeline", "annotation"),
    ("cluster", "judge_checking", "tiny"),
    ("generate", "judging", "train", "evaluate", "check", "judge_bench", "abtest", "tenets"),
    ("loop", "advice", "review"),
    ("report",),
    ("cli", "api", "errors"),
)
"""Level 0 first. A package may import from lower levels and from itself, never from its neighbours."""
VERBS = tuple(name for names in LEVELS[7:10] for name in names)
DOORS = ("settings.py", "plan.py", "run.py")
"""What every verb has: plain values under the options' names, a plan without a loaded model, and the work."""

LONGEST_FILE = 350
LONGEST_FUNCTION = 60
SMALL = 60
"""Lines below which a file with one importer is usually a paragraph of its importer."""
SMALL_WITH_ONE_IMPORTER = 10

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


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """Return the modules of cai that a file imports, in whichever of the four ways there are to say so."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            if node.module and node.module.partition(".")[0] == "cai":
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {name if name in MODULES else node.module for name in inside}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "cai"}
    return frozenset(found)


def package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def level(name: str) -> int:
    found = [number for number, names in enumerate(LEVELS) if name in names]
    assert found, f"cai.{name} has no level; give it one here and in docs/architecture.md"
    return found[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = package(module_name(path))
    if not here or here == "__main__":
        return
    for module in imported_modules(path):
        other = package(module)
        if other and other != here:
            assert level(other) < level(here), f"{module_name(path)} imports {module}"
        elif not other:
            assert names_of_cai(path) <= {"__version__"}, "the public API is for those outside"


def names_of_cai(path: Path) -> set[str]:
    """Return what a file takes from the top package itself."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "cai":
            names |= {alias.name for alias in node.names if f"cai.{alias.name}" not in MODULES}
        elif isinstance(node, ast.Import):
            names |= {"cai" for alias in node.names if alias.name == "cai"}
    return names


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_same_three_doors(verb: str) -> None:
    assert {path.name for path in (ROOT / "cai" / verb).glob("*.py")} >= set(DOORS)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    assert path.read_text().count("\n") <= LONGEST_FILE
    # A function of the public API has an option a line, and a paragraph for them: there the work is counted.
    is_api = package(module_name(path)) == "api"
    for function in functions(path):
        documented = is_api and ast.get_docstring(function) is not None and len(function.body) > 1
        first = function.body[1].lineno if documented else function.lineno
        assert (function.end_lineno or 0) - first + 1 <= LONGEST_FUNCTION, function.name
    assert not tree(path).body or ast.get_docstring(tree(path)), "a module's docstring is its contract"


def importers() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in MODULES.items():
        for module in imported_modules(path):
            found[module].add(name)
    return found


def test_few_files_are_a_paragraph_of_their_only_importer() -> None:
    found = importers()
    small = [
        name
        for name, path in MODULES.items()
        if len(found[name]) == 1 and path.name != "__init__.py" and path.read_text().count("\n") < SMALL
    ]
    assert len(small) <= SMALL_WITH_ONE_IMPORTER, small


def test_no_class_name_is_in_two_files() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


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
    knowing = {name for name, path in MODULES.items() if any(package(one) == "tiny" for one in imported_modules(path))}
    assert {name for name in knowing if package(name) != "tiny"} == {
        "cai.evaluate.answering",
        "cai.evaluate.calibration",
        "cai.evaluate.harness.embedded",
    }
