"""How long examples are, in tokens, and how many answers do not fit: a cut one teaches to stop in the middle, or never.

Counted with the tokenizer and chat template that are trained with, in every example: how many tokens a character takes
differs manifold between languages, so that characters do not tell which example is the longest. Those that do not fit
are looked at once more, for where they are cut.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cai.core.counts import counted
from cai.core.errors import InputError
from cai.models.template_check import explain
from cai.train.data.examples import Examples

_ROWS = 1000


@dataclass(frozen=True, slots=True)
class ExampleTokens:
    """How many tokens every example's longest sequence has, its template included, in the order of each split."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def longest(self) -> int:
        """The tokens of the longest sequence that an example puts through the model."""
        return int(max(self.train.max(initial=0), self.test.max(initial=0)))


@dataclass(frozen=True, slots=True)
class Cut:
    """What did not fit into `length` tokens: examples with an answer that is cut, and those whose prompt fills it.

    `same` of the examples are pairs whose answers differ only behind the cut.
    """

    length: int
    answers: int
    prompts: int
    same: int = 0

    def sentences(self) -> list[str]:
        """Return what there is to say, for people."""
        said = []
        if self.answers:
            said.append(f"{self.answers:,} answers are cut at {self.length:,} tokens; raise --max-length")
        if self.same:
            said.append(
                f"the answers of {counted(self.same, 'pair')} are the same in their first {self.length:,} tokens and "
                "teach nothing; raise --max-length"
            )
        if self.prompts:
            fill = f"{counted(self.prompts, 'prompt')} {'fills' if self.prompts == 1 else 'fill'}"
            teach = "teaches" if self.prompts == 1 else "teach"
            said.append(f"{fill} {self.length:,} tokens and {teach} nothing; raise --max-length")
        return said


def count_tokens(tokenizer: PreTrainedTokenizerBase, examples: Examples) -> ExampleTokens:
    """Count every example's tokens; raises InputError when the template refuses a conversation."""
    return ExampleTokens(_counts(tokenizer, examples.train), _counts(tokenizer, examples.test))


def count_cut(tokenizer: PreTrainedTokenizerBase, examples: Examples, tokens: ExampleTokens, length: int) -> Cut:
    """Return what training at this length cuts of examples with so many tokens."""
    answers = prompts = same = 0
    for split, counts in ((examples.train, tokens.train), (examples.test, tokens.test)):
        if split is None:
            continue
        for rows in _rows(split.select(np.flatnonzero(counts > length))):
            wholes = [text for row in rows for text in _wholes(tokenizer, row)]
            owners = [number for number, row in enumerate(rows) for _ in _answers(row)]
            cut: defaultdict[int, list[list[int]]] = defaultdict(list)
            for owner, ids in zip(owners, _encoded(tokenizer, wholes, special="text" in rows[0]), strict=True):
                if len(ids) > length:
                    cut[owner].append(ids[:length])
            before = _encoded(tokenizer, [_prompt(tokenizer, rows[number]) for number in cut])
            full = [len(ids) >= length for ids in before]
            answers, prompts = answers + len(cut) - sum(full), prompts + sum(full)
            same += sum(
                not is_full and len(both) > 1 and both[0] == both[1]
                for is_full, both in zip(full, cut.values(), strict=True)
            )
    return Cut(length, answers, prompts, same)


def rendered(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Any], *, prompt: bool = False) -> str:
    """Return the conversation's text; raises InputError, in one sentence, when the chat template refuses it."""
    try:
        return str(tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=prompt))
    except Exception as error:  # a template can raise whatever Python can
        raise refused(error) from error


def refused(error: Exception) -> InputError:
    """Return what is said when the chat template raises over one of the examples."""
    return InputError(
        f"the chat template refuses a conversation of the data ({explain(error)}): leave such examples out, or give "
        "another --template"
    )


def _counts(tokenizer: PreTrainedTokenizerBase, split: Dataset | None) -> NDArray[np.int64]:
    counts: list[int] = []
    for rows in () if split is None else _rows(split):
        texts = [_wholes(tokenizer, row) or [_prompt(tokenizer, row)] for row in rows]
        sizes = iter(_encoded(tokenizer, [text for whole in texts for text in whole], special="text" in rows[0]))
        counts += [max(len(next(sizes)) for _ in whole) for whole in texts]
    return np.array(counts, np.int64)


def _rows(split: Dataset) -> Iterator[list[dict[str, Any]]]:
    for columns in split.iter(batch_size=_ROWS):
        count = len(next(iter(columns.values())))
        yield [{name: values[number] for name, values in columns.items()} for number in range(count)]


def _answers(row: dict[str, Any]) -> list[Any]:
    """Return what is learned from, each of which stands behind the row's prompt."""
    for name in ("text", "messages"):
        if name in row:
            return [row[name]]
    if "answers" in row:
        return [answer["completion"] for answer in row["answers"]]
    return [row[name] for name in ("completion", "chosen", "rejected") if name in row]


def _wholes(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> list[str]:
    """Return the texts of what goes through the model, answers included; TRL ends plain text by the token for that."""
    if "text" in row:
        end = tokenizer.eos_token or ""
        return [text if text.endswith(end) else text + end for text in _answers(row)]
    return [rendered(tokenizer, [*row.get("prompt", []), *answer]) for answer in _answers(row)]


def _prompt(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> str:
    return rendered(tokenizer, row["prompt"], prompt=True) if "prompt" in row else ""


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, special: bool = False) -> list[list[int]]:
    """Return the texts' tokens, with `special` the ones that the tokenizer puts around plain text."""
    if not texts:
        return []
    encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, return_token_type_ids=False)
    return list(encoded["input_ids"])
