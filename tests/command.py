"""The command line, called from a test."""

from typing import Any

import orjson
import pytest

from cai.cli.main import main


class Cai:
    """The command line in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capture.readouterr()
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        out, err = self._capture.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out, err

    def told(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return orjson.loads(out)
