"""Examples to train on whose lengths vary as people's do: the words mean nothing, and are the same every time.

A prompt has 5 to 60 words, each number alike. An answer's words are drawn from a log-normal distribution, median 60 and
sigma 0.7, cut to 5 and 300: many short ones and a few that are long, which is what batches suffer from. Methods that
draw answers themselves get the medical set's prompts, which the embedded model answers as it answers people.
"""

import math
import random
from pathlib import Path
from typing import Any, Literal

import orjson
from transformers import PreTrainedTokenizerBase

from benchmarks.prompts import WORDS

Method = Literal["sft", "dpo", "kto", "orpo", "reward", "grpo", "rloo"]
ONLINE: tuple[Method, ...] = ("grpo", "rloo")
"""Those that draw answers themselves."""

_PROMPTS = Path(__file__).parent.parent / "prompts" / "sets" / "medical.jsonl"
_PROMPT = (5, 60)
_ANSWER = (5, 300)
_MEDIAN, _SIGMA = 60, 0.7


def write_examples(folder: Path, method: Method, count: int) -> Path:
    """Write `train.jsonl` into the folder, in TRL's columns, and return it; the folder alone is a dataset for TRL."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    path = folder / "train.jsonl"
    with path.open("wb") as file:
        if method in ONLINE:
            for line in _PROMPTS.read_bytes().splitlines()[:count]:
                asked = {"prompt": [{"role": "user", "content": orjson.loads(line)["prompt"]}]}
                file.write(orjson.dumps(asked, option=orjson.OPT_APPEND_NEWLINE))
            return path
        for number in range(count):
            question = f"Question {number}: {_words(draw, draw.randint(*_PROMPT))}?"
            row: dict[str, Any] = {"prompt": [{"role": "user", "content": question}]}
            for column in _answers(method):
                row[column] = [{"role": "assistant", "content": _words(draw, _answer_length(draw))}]
            if method == "kto":
                row["label"] = number % 2 == 0
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return path


def useful_tokens(path: Path, method: Method, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the tokens that one epoch puts through the model, prompts and answers, without padding.

    A pair is two sequences, with the prompt in each. Methods that draw answers are told none before: 0.
    """
    if method in ONLINE:
        return 0
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    dialogues = [row["prompt"] + row[column] for row in rows for column in _answers(method)]
    return sum(len(ids) for ids in tokenizer.apply_chat_template(dialogues, return_dict=True)["input_ids"])


def _answers(method: Method) -> tuple[str, ...]:
    return ("completion",) if method in ("sft", "kto") else ("chosen", "rejected")


def _answer_length(draw: random.Random) -> int:
    fewest, most = _ANSWER
    return min(max(round(draw.lognormvariate(math.log(_MEDIAN), _SIGMA)), fewest), most)


def _words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))
