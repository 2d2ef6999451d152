"""Each peer's own virtual environment, made from its file in `requirements/`, and made again when that file changes.

They lie in `.environments/` here (about 1 GB in all), which git does not see.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.processes import MeasuringError

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".environments"


def environment(name: str) -> Path:
    """Return the Python of a peer's environment, made if need be; raises MeasuringError when it cannot be."""
    folder, requirements = ENVIRONMENTS / name, HERE / "requirements" / f"{name}.txt"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    ENVIRONMENTS.mkdir(exist_ok=True)
    (ENVIRONMENTS / ".gitignore").write_text("*\n")
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements))
    stamp.write_text(requirements.read_text())
    return python


def version(name: str, distribution: str) -> str:
    """Return the version of what is installed in a peer's environment."""
    program = f"from importlib.metadata import version; print(version({distribution!r}))"
    return _run(str(environment(name)), "-c", program).strip()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise MeasuringError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
