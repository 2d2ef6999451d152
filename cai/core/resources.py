"""Where the files that ship with cai are: constitutions, prompt templates and seed prompt sets.

In an installed wheel they lie inside the package (`cai/shipped`), in a checkout beside it. Nothing here reads them.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(*parts: str) -> Path:
    """Return the path of a shipped file or folder, such as `shipped("constitutions", "medical.yaml")`.

    The path is not checked: what is missing there is for the caller to explain.
    """
    installed = _PACKAGE / "shipped"
    root = installed if installed.is_dir() else _PACKAGE.parent
    return root.joinpath(*parts)
