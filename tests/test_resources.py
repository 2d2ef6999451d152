"""Shipped files are found in a checkout and in an unpacked wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cai.core.resources import shipped

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "parts", [("constitutions", "medical.yaml"), ("prompts", "templates", "ko", "judge.j2"), ("prompts", "sets")]
)
def test_a_checkout_has_what_ships(parts: tuple[str, ...]) -> None:
    assert shipped(*parts).exists()
    assert shipped(*parts) == ROOT.joinpath(*parts)


def test_a_wheel_has_what_ships(tmp_path: Path) -> None:
    quiet = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *quiet, "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("cai-*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
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
    environment = {"PYTHONPATH": str(unpacked)}
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    where, prompts, names, options = ran.stdout.splitlines()
    assert Path(where) == unpacked / "cai" / "__init__.py"
    assert prompts == "True"
    assert names.split() == ["coding", "harmless", "harmless-ko", "helpful", "medical"]
    assert options == "('A', 'B') ('A', 'B')"
