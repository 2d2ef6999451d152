"""Shipped files are found in a checkout; `test_wheel.py` looks for them in a wheel."""

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
