"""`cai constitution`: what it prints and how it ends."""

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from cai.cli.constitution import constitution
from cai.constitution import load_constitution, shipped_constitutions
from cai.core.errors import ConstitutionError
from cai.core.resources import shipped

GOOD = """\
name: house
version: '1'
extends: [harmless]
principles:
  - id: terse
    text: The response is [b]short[/b].
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(constitution, arguments)


def flat(output: str) -> str:
    """Return output without its line breaks and columns."""
    return " ".join(output.split())


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "house.yaml"
    path.write_text(GOOD)
    return str(path)


def test_list() -> None:
    result = run("list")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line.strip()}
    for name in shipped_constitutions():
        loaded = load_constitution(name)
        expected = [loaded.version, loaded.language, str(len(loaded.principles)), ", ".join(loaded.extends) or "-"]
        assert rows[name][:4] == expected


def test_show_prints_every_principle_and_where_it_is_from(good: str) -> None:
    result = run("show", good)
    assert result.exit_code == 0
    output = flat(result.output)
    loaded = load_constitution(good)
    assert f"house 1 · language en · fingerprint {loaded.fingerprint}" in output
    for principle in loaded.principles:
        assert f"{principle.id} {principle.severity} weight {principle.weight:g}" in output
        for text in (principle.text, principle.critique, principle.revision):
            assert text is None or flat(text) in output
    joined = "".join(result.output.split())
    assert f"{good}:5" in joined
    assert f"{shipped('constitutions', 'harmless.yaml')}:" in joined


def test_show_json_is_the_whole_constitution(good: str) -> None:
    data = orjson.loads(run("show", good, "--json").output)
    files = data.pop("files")
    assert files["terse"] == good
    assert files["privacy"] == str(shipped("constitutions", "harmless.yaml"))
    loaded = load_constitution(good)
    assert data.pop("fingerprint") == loaded.fingerprint
    assert data == orjson.loads(loaded.model_dump_json())


def test_show_raises_what_main_prints() -> None:
    result = run("show", "medcal")
    assert isinstance(result.exception, ConstitutionError)
    assert result.exception.exit_code == 2


def test_check_a_good_file(good: str) -> None:
    result = run("check", good, "helpful")
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == f"{good}: valid, 5 principles, no warnings"
    assert len(result.output.splitlines()) == 2


def test_check_warns(good: str) -> None:
    Path(good).write_text(GOOD + "    applies_to: []\n")
    result = run("check", good)
    assert result.exit_code == 0
    warning, summary = result.output.splitlines()
    assert warning.startswith(f"{good}:7: warning: nothing can trigger 'terse'")
    assert summary == f"{good}: valid, 5 principles, 1 warning"


def test_check_tells_the_mistakes_of_every_file(good: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD + "    wieght: 2\n    severity: high\n")
    result = run("check", str(bad), good, "medcal")
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        f"{bad}: 2 mistakes",
        f"{bad}:7: unknown key `wieght`; did you mean `weight`?",
        f"{bad}:8: `severity` is 'high'; allowed: critical, major, minor",
        f"{good}: valid, 5 principles, no warnings",
        "there is no constitution 'medcal'; did you mean 'medical'?",
    ]


def test_check_wants_a_file() -> None:
    assert run("check").exit_code == 2


def test_schema_is_the_file() -> None:
    result = run("schema")
    assert result.exit_code == 0
    assert result.output.encode() == shipped("constitutions", "schema.json").read_bytes()
