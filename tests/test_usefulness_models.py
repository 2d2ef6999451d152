"""Perplexity, divergence and embeddings, beside the same computed directly with torch."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from cai.core.addresses import DataSource
from cai.core.errors import InputError, ModelError, UsageError
from cai.core.records import Prompt
from cai.evaluate.plan import read_heldout
from cai.evaluate.usefulness.alignment_cost import cost_of_alignment, read
from cai.evaluate.usefulness.bertscore import with_bertscore
from cai.models.backends import TINY
from cai.models.embedding import EmbeddingModel, match
from cai.models.reading import ReadingModel
from cai.models.spec import ModelSpec
from tests.building import make_engine, user
from tests.evaluating import examined, made_answer, opened_model

TEXT = "Please see a doctor today. I cannot say what it is, and a fever that stays for a week needs a closer look."


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the embedded model with its weights moved a little."""
    directory = tmp_path_factory.mktemp("moved")
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.02 * weight.abs().mean())
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(directory)
    return directory


def directly(name: Path, tokens: list[int]) -> torch.Tensor:
    """Return the log-probabilities behind every token but the last, in double precision."""
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float64).eval()
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=torch.tensor([tokens])).logits[0, :-1].log_softmax(dim=-1)
    return found


def test_what_a_model_reads_is_what_torch_says(moved: Path) -> None:
    base, model = ReadingModel(str(TINY), "cpu"), ReadingModel(str(moved), "cpu")
    before, tokens = model.encode_text(TEXT)
    assert len(before) == 1
    assert base.vocabulary == model.vocabulary
    nats, divergence = read(model, base, before, tokens)
    p, q = (directly(name, [*before, *tokens]) for name in (moved, TINY))
    places = torch.arange(len(tokens))
    assert nats == pytest.approx(-float(p[places, tokens].sum()), rel=1e-4)
    assert divergence == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-3, abs=1e-4)
    assert divergence is not None
    assert divergence > 0.01
    assert read(model, model, before, tokens)[1] == 0
    assert read(model, None, before, tokens) == (nats, None)
    model.window = 16
    pieces, whole = torch.cat(list(model.log_probabilities(before, tokens))), [*before, *tokens]
    for start in range(0, len(tokens), 8):  # each stretch is read behind what the window holds before it
        end = min(len(tokens), start + 8)
        expected = directly(moved, whole[max(0, end - 15) : end + 1])[start - end :]
        assert torch.allclose(pieces[start:end].double(), expected, atol=1e-3)


def plan(models: dict[str, str], baseline: str | None, heldout: Path | None, **usefulness: Any) -> Any:
    """Return as much of a plan as these examinations look at."""
    texts = None if heldout is None else read_heldout(DataSource.parse(str(heldout)))
    return SimpleNamespace(
        models=[SimpleNamespace(label=label, spec=ModelSpec.parse(spec)) for label, spec in models.items()],
        baseline=baseline,
        heldout=texts,
        settings=SimpleNamespace(
            usefulness=SimpleNamespace(**usefulness), engine=SimpleNamespace(device="cpu", dtype="auto")
        ),
    )


def test_what_alignment_cost_is_told_by_model(tmp_path: Path, moved: Path) -> None:
    texts = tmp_path / "held.jsonl"
    texts.write_text('{"text": "Please see a doctor today."}\n{"text": "I cannot say what it is."}\n{"text": ""}\n')
    specs = {"base": "tiny", "moved": f"transformers:{moved}", "served": "openai:m@http://127.0.0.1:9/v1"}
    wanted = plan(specs, "base", texts)
    prompts = [Prompt(f"q{n}", n, (user("Is my cough bad?"),)) for n in range(2)]
    heldout, own = cost_of_alignment(wanted, prompts)
    assert heldout.apart
    assert heldout.about == f"{texts}; 1 row of it is no text"
    engine = make_engine(lambda _: "")
    answers = [made_answer(f"q{n}", "See a doctor.", messages=(user("Is my cough bad?"),)) for n in range(2)]
    opened = [opened_model(engine, engine, *answers, label=label) for label in specs]
    found = heldout.section([examined(heldout, one) for one in opened], "base", 0)
    base, other, served = found.models
    names = ["bits per byte", "perplexity"], ["bits per byte", "KL to the baseline, held-out", "perplexity"]
    assert tuple([one.name for one in model.measurements] for model in (base, other)) == names
    reading = ReadingModel(str(TINY), "cpu")
    nats = tokens = size = 0.0
    for item in heldout.items:
        before, ids = reading.encode_text(item.messages[0]["content"])
        nats, tokens, size = nats + read(reading, None, before, ids)[0], tokens + len(ids), size + 26 - 2 * item.ordinal
    perplexity, bits = base.measurement("perplexity"), base.measurement("bits per byte")
    assert perplexity is not None
    assert bits is not None
    assert perplexity.value == pytest.approx(float(torch.tensor(nats / tokens).exp()), rel=1e-5)
    assert bits.value == pytest.approx(nats / 0.693147 / 50, rel=1e-5)
    assert other.difference("perplexity") is not None
    assert served.measurements == ()
    (cause,) = served.failures
    assert cause.startswith("reading: its weights are not in this process")
    moved_far = own.section([examined(own, one) for one in opened[:2]], "base", 0).models[1]
    divergence = moved_far.measurement("KL to the baseline, own answers")
    assert divergence is not None
    assert (divergence.value > 0, divergence.count) == (True, 2)
    assert cost_of_alignment(plan(specs, "base", None), prompts) == ()
    assert len(cost_of_alignment(plan(specs, None, texts), prompts)) == 1
    assert len(cost_of_alignment(plan({"base": "tiny"}, "base", texts), prompts)) == 1


def test_text_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(InputError, match=r"empty\.jsonl has no text: give a file with a text a row"):
        read_heldout(DataSource.parse(str(tmp_path / "empty.jsonl")))


def test_bertscore_is_greedy_matching_of_one_layer(tmp_path: Path) -> None:
    model = EmbeddingModel(str(TINY), "cpu")
    one, other = model.embed("Please see a doctor."), model.embed("See a doctor, please, today.")
    body, tokenizer = AutoModel.from_pretrained(TINY).eval(), AutoTokenizer.from_pretrained(TINY)
    layers = body.config.num_hidden_layers
    assert model.layer == round(0.72 * layers)
    with torch.inference_mode():
        read = tokenizer("Please see a doctor.", return_tensors="pt")
        states = body(**{name: read[name] for name in ("input_ids", "attention_mask")}, output_hidden_states=True)
    expected = torch.nn.functional.normalize(states.hidden_states[model.layer][0].float(), dim=-1)
    assert torch.allclose(one, expected, atol=1e-5)
    precision, recall, f1 = match(one, other)
    by_hand = [max(float(a @ b) for b in other) for a in one]
    assert precision == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-5)
    assert (recall, precision) == pytest.approx(match(other, one)[:2])
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert match(one, one) == pytest.approx((1, 1, 1), abs=1e-5)
    assert match(one, one[:0]) == (0, 0, 0)
    with pytest.raises(ModelError, match="cannot be opened"):
        EmbeddingModel(str(tmp_path), "cpu")


def test_answers_are_compared_with_the_reference_they_match_best() -> None:
    prompts = [Prompt(f"q{n}", n, (user("?"),), references=("See a doctor.", "Rest well.")) for n in range(2)]
    (examination,) = with_bertscore(plan({}, None, None, bertscore=ModelSpec.parse("tiny")), prompts)
    engine = make_engine(lambda _: "")
    said = [made_answer("q0", "Rest well."), made_answer("q1", "Call the police now.")]
    found = examined(examination, opened_model(engine, engine, *said))
    assert found.entries["q0"].f1 == pytest.approx(1, abs=1e-5)
    assert found.entries["q1"].f1 < 0.999
    section = examination.section([found], None, 0)
    assert section.details == {"model": "tiny", "layers": [found.entries["q0"].layer]}
    with pytest.raises(UsageError, match="no prompt has one: add a column `reference`"):
        with_bertscore(plan({}, None, None, bertscore=ModelSpec.parse("tiny")), [Prompt("a", 0, (user("?"),))])
