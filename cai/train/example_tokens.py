"""How long examples are, in tokens, and how many answers do not fit: a cut one teaches to stop in the middle, or never.

Counted with the tokenizer and chat template that are trained with. Every example's characters are counted, and only the
longest by characters are put through the tokenizer; all of them are only when the longest does not fit.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from cai.core.counts import counted
from cai.core.errors import InputError
from cai.models.template_check import explain
from cai.train.data.examples import Examples

_TOKENIZED = 64
_ROWS = 1000

Text = str | list[dict[str, str]]


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


def longest_example(tokenizer: PreTrainedTokenizerBase, examples: Examples) -> int:
    """Return the tokens of the longest sequence that an example puts through the model, its template included."""
    longest: list[tuple[int, int, Text]] = []
    number = 0
    for split in (examples.train, examples.test):
        for sequence in _sequences(split):
            number += 1  # breaks ties, since conversations do not compare
            item = (_characters(sequence), number, sequence)
            if len(longest) < _TOKENIZED:
                heapq.heappush(longest, item)
            elif item > longest[0]:
                heapq.heapreplace(longest, item)
    return max((_tokens(tokenizer, sequence) for _, _, sequence in longest), default=0)


def count_cut(tokenizer: PreTrainedTokenizerBase, examples: Examples, length: int) -> Cut:
    """Return what training at this length cuts; raises InputError when the template refuses a conversation."""
    answers = prompts = same = 0
    for split in (examples.train, examples.test):
        if split is None:
            continue
        for rows in _rows(split):
            wholes = [text for row in rows for text in _wholes(tokenizer, row)]
            owners = [number for number, row in enumerate(rows) for _ in _answers(row)]
            cut: defaultdict[int, list[list[int]]] = defaultdict(list)
            for owner, ids in zip(owners, _encoded(tokenizer, wholes), strict=True):
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
    answers = _answers(row)
    if "text" in row:
        return [str(text) for text in answers]
    return [rendered(tokenizer, [*row.get("prompt", []), *answer]) for answer in answers]


def _prompt(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> str:
    return rendered(tokenizer, row["prompt"], prompt=True) if "prompt" in row else ""


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Return the texts' tokens."""
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


def _sequences(split: Dataset | None) -> Iterator[Text]:
    if split is not None:
        for rows in _rows(split):
            for row in rows:
                yield from _of_row(row)


def _of_row(row: dict[str, Any]) -> Iterator[Text]:
    for name in ("text", "messages"):
        if name in row:
            yield row[name]
            return
    for answer in _answers(row) or [[]]:
        yield row["prompt"] + answer


def _characters(sequence: Text) -> int:
    return len(sequence) if isinstance(sequence, str) else sum(len(text) for turn in sequence for text in turn.values())


def _tokens(tokenizer: PreTrainedTokenizerBase, sequence: Text) -> int:
    text = sequence
    if not isinstance(sequence, str):
        text = rendered(tokenizer, sequence, prompt=True)
    return len(tokenizer(text, add_special_tokens=isinstance(sequence, str))["input_ids"])
