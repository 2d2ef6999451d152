"""The wheel: what is in it, by name and size, and that it works without the checkout."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = "cai/tiny/checkpoint/model.safetensors"

ALLOWED = (
    "cai/*.py",
    "cai/py.typed",
    "cai/evaluate/harness/tasks/*.yaml",
    "cai/launch/*.yaml",
    "cai/report/page.html.j2",
    "cai/report/texts/*.yaml",
    "cai/review/page/*",
    "cai/train/template/*.jinja",
    "cai/tiny/checkpoint/*",
    "cai/tiny/data/*.yaml",
    "cai/shipped/constitutions/*.yaml",
    "cai/shipped/constitutions/schema.json",
    "cai/shipped/prompts/sets/*.jsonl",
    "cai/shipped/prompts/evaluation/*.jsonl",
    "cai/shipped/prompts/opinions/*.yaml",
    "cai/shipped/prompts/paraphrases/*.yaml",
    "cai/shipped/prompts/probes/*.yaml",
    "cai/shipped/prompts/templates/*/*.j2",
    "cai/shipped/prompts/templates/*/scoring.yaml",
    "cai/shipped/prompts/templates/*/words.yaml",
    "cai-*.dist-info/*",
)

Cai = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built as `python -m build` builds it."""
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    return Path(path)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the wheel's files and nothing of the checkout."""
    directory = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture
def cai(installed: Path, tmp_path: Path) -> Cai:
    """Return what runs the installed `cai` in an empty directory."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "cai", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def sizes(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {member.filename: member.file_size for member in archive.infolist()}


def test_it_holds_the_package_and_what_ships_and_nothing_else(wheel: Path) -> None:
    found = sizes(wheel)
    unexpected = [name for name in found if not any(fnmatch(name, pattern) for pattern in ALLOWED)]
    assert unexpected == [], "what trains, measures or tests belongs into benchmarks/ or tests/"
    assert {f"cai/{path.relative_to(ROOT / 'cai').as_posix()}" for path in (ROOT / "cai").rglob("*.py")} <= set(found)
    for folder in ("constitutions", "prompts"):
        shipped = (path for path in (ROOT / folder).rglob("*") if path.is_file())
        assert {f"cai/shipped/{path.relative_to(ROOT).as_posix()}" for path in shipped} <= set(found)


def test_it_is_as_small_as_its_weights_allow(wheel: Path) -> None:
    found = sizes(wheel)
    assert 4_000_000 < found.pop(WEIGHTS) < 8_000_000
    assert all(size < 200_000 for size in found.values()), "no data set, no picture, no second model"
    data = sum(size for name, size in found.items() if not name.endswith(".py"))
    assert data < 1_000_000
    assert sum(size for name, size in found.items() if name.endswith(".py")) < 3_500_000
    assert wheel.stat().st_size < 7_000_000


def test_it_needs_nothing_of_the_checkout(installed: Path) -> None:
    for path in installed.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import benchmarks" not in text, path
        assert "from benchmarks" not in text, path
        assert "from tests" not in text, path


@pytest.mark.slow
def test_an_installed_copy_finds_what_ships(installed: Path, tmp_path: Path) -> None:
    program = (
        "import cai\n"
        "from cai.constitution import load_constitution, shipped_constitutions\n"
        "from cai.method.templates import Templates\n"
        "from cai.core.resources import shipped\n"
        "print(cai.__file__)\n"
        "print(shipped('prompts', 'sets', 'coding.jsonl').is_file())\n"
        "print(*[load_constitution(name).name for name in shipped_constitutions()])\n"
        "print(Templates.load('en').judge_options, Templates.load('ko').judge_options)\n"
    )
    environment = {"PYTHONPATH": str(installed)}
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    where, prompts, names, options = ran.stdout.splitlines()
    assert Path(where) == installed / "cai" / "__init__.py"
    assert prompts == "True"
    assert names.split() == ["coding", "harmless", "harmless-ko", "helpful", "medical"]
    assert options == "('A', 'B') ('A', 'B')"


def test_an_installed_copy_tells_its_commands_and_constitutions(cai: Cai) -> None:
    assert "generate" in cai("--help").stdout
    told = cai("constitution", "list").stdout
    assert all(name in told for name in ("coding", "harmless", "harmless-ko", "helpful", "medical"))


@pytest.mark.slow
def test_an_installed_copy_generates_and_evaluates(cai: Cai, tmp_path: Path) -> None:
    cai("generate", "--constitution", "harmless-ko", "--model", "scripted", "--limit", "2", "--out", "run")
    assert len(cai("show", "run", "--json").stdout.splitlines()) == 2
    cai("evaluate", "scripted", "--constitution", "harmless-ko", "--limit", "4", "--out", "measured")
    assert (tmp_path / "measured" / "evaluation.json").exists()
