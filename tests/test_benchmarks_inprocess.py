"""The random model behaves as it says, and both sides of the comparison go through to the end; no figure is judged."""

import re
from pathlib import Path

import orjson
import pytest
import torch
import transformers
from click.testing import CliRunner

from benchmarks import inprocess, staged
from benchmarks.inprocess import Took
from benchmarks.prompts import WORDS
from benchmarks.wordllama import vocabulary, write_word_llama
from cai.constitution import load_constitution
from cai.method.templates import Templates

_SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}


@pytest.mark.slow
def test_the_random_model_writes_words_that_it_reads_as_written_and_ends_its_texts(tmp_path: Path) -> None:
    write_word_llama(tmp_path, ["how are you, then?"], 20, _SMALL)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.manual_seed(0)
    text = torch.randint(tokenizer.convert_tokens_to_ids("how"), len(tokenizer), (32, 64))  # its first word
    with torch.no_grad():
        ends = model(text).logits.softmax(-1)[..., tokenizer.eos_token_id]
    assert 1 / 22 < ends.min() < ends.max() < 1 / 18, "one word in twenty, whatever was written"
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "how are you, then?"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert tokenizer.unk_token_id not in asked
    written = model.generate(
        torch.tensor([asked] * 40),
        attention_mask=torch.ones((40, len(asked)), dtype=torch.long),
        do_sample=True,
        top_k=0,
        max_new_tokens=200,
    )[:, len(asked) :]
    lengths = (written != tokenizer.pad_token_id).sum(-1)
    assert 1 < lengths.min() < 10 < lengths.max() < 200
    for row, length in zip(written, lengths, strict=True):
        words = row[: int(length) - 1].tolist()  # without the end
        assert words
        assert tokenizer.encode(tokenizer.decode(words), add_special_tokens=False) == words


def test_the_random_model_knows_the_words_that_a_judge_is_asked_with(tmp_path: Path) -> None:
    constitution = load_constitution("harmless")
    write_word_llama(tmp_path, vocabulary(constitution), 20, _SMALL)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    templates = Templates.load(constitution.language)
    question = templates.judge(constitution.principles[-1], [{"role": "user", "content": WORDS[0]}], WORDS[1], WORDS[2])
    known = re.sub(r"\b[0-9a-f]{4}\b", "", question)  # without the marks, which are drawn
    assert known != question
    assert tokenizer.unk_token_id not in tokenizer.encode(known, add_special_tokens=False)
    first, second = (tokenizer.encode(option, add_special_tokens=False) for option in templates.judge_options)
    assert first != second


@pytest.mark.slow
def test_the_plain_loop_makes_every_row_and_counts_what_it_read_and_wrote(tmp_path: Path) -> None:
    setting = inprocess.embedded(tmp_path, 5)
    arguments = [str(setting.model), str(setting.prompts), setting.constitution, "--batch-size=2", "--max-tokens=20"]
    outcome = CliRunner().invoke(staged.main, arguments)
    assert outcome.exit_code == 0, outcome.output
    told = orjson.loads(outcome.stdout)
    rows = [orjson.loads(line) for line in setting.prompts.with_suffix(".rows").read_bytes().splitlines()]
    assert told["rows"] == len(rows) == 5
    for row in rows:
        assert row["response"]
        assert row["critique"]
        assert ("revision_is_better" in row) == (row["response"] != row["revision"])
    assert 3 * 5 <= told["completion_tokens"] <= told["places"] <= 3 * 5 * 20
    assert told["prompt_tokens"] > told["completion_tokens"]


def test_ratios_are_of_medians_and_ours_over_theirs() -> None:
    plain = [Took(100, 0, 60, seconds, 2 * seconds, 0.5) for seconds in (6.0, 3.0, 30.0)]
    ours = [Took(100, 40, 60, seconds, 2 + seconds) for seconds in (2.0, 1.0, 4.0)]
    found = {figure.name: figure for figure in inprocess.figures("m", 8, plain, ours)}
    assert found["m: ratio"].value == pytest.approx(30 / 10)
    assert found["m: ratio"].met is True
    assert found["m: ratio, whole command"].value == pytest.approx(15 / 5)
    assert found["m: prompt and generated tokens/s"].value == pytest.approx(80)
    assert found["m: prompt tokens that were not read again"].value == pytest.approx(40)
