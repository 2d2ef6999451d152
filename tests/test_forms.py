"""Which form of asking a run has: what the options say, then the constitution, then the model's own files."""

import json
from pathlib import Path

import pytest

from cai.core.errors import ModelError
from cai.generate.plan import plan_generate
from cai.generate.settings import GenerateSettings
from cai.models import TINY
from cai.models.checkpoint.resolve import stated_form
from cai.models.spec import ModelSpec

BASE = "name: {name}\nversion: '1'\nprompts: tiny\nprinciples:\n  - {{id: kind, text: The response is kind.}}\n"


@pytest.mark.parametrize(
    ("model", "said", "option", "form"),
    [
        ("tiny", "", None, "continued"),
        ("tiny", "revision: {form: anew}\n", None, "anew"),
        ("tiny", "revision: {form: auto}\n", "anew", "anew"),
        ("scripted", "", None, "anew"),
        ("scripted", "revision: {form: continued}\n", None, "continued"),
        ("scripted", "revision: {form: continued}\n", "auto", "anew"),
        (f"vllm:{TINY}", "", None, "continued"),
        ("openai:tiny@http://127.0.0.1:9/v1", "", None, "anew"),
        ("transformers:nobody/nothing", "", None, "anew"),
    ],
)
def test_the_form_is_settled_before_a_model_is_open(
    model: str, said: str, option: object, form: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(BASE.format(name="mine") + said, encoding="utf-8")
    settings = GenerateSettings(str(file), model=ModelSpec.parse(model), form=option, out=tmp_path / "run")  # type: ignore[arg-type]
    plan = plan_generate(settings)
    assert plan.method.plan.form == form
    assert plan.identity("m", "j", ())["form"] == form


def test_what_a_model_states_is_a_form_or_a_mistake(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for text, stated in (("{}", None), ("[]", None), ("nothing", None), ('{"revision_form": "anew"}', "anew")):
        config.write_text(text, encoding="utf-8")
        assert stated_form(str(tmp_path)) == stated
    config.write_text(json.dumps({"revision_form": "backwards"}), encoding="utf-8")
    with pytest.raises(ModelError, match="revision_form is 'backwards'; there are anew and continued"):
        stated_form(str(tmp_path))
    assert stated_form(None) is None
