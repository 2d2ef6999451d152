"""How many answers do not fit the maximal length: what a cut one teaches is to stop in the middle, or never.

Counted with the tokenizer and chat template that are trained with, and only when the longest example does not fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from cai.core.errors import InputError
from cai.models.template_check import explain
from cai.train.data.examples import Examples

_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Cut:
    """What did not fit into `length` tokens: examples with an answer that is cut, and those whose prompt fills it."""

    length: int
    answers: int
    prompts: int

    def sentences(self) -> list[str]:
        """Return what there is to say, for people."""
        said = []
        if self.answers:
            said.append(f"{self.answers:,} answers are cut at {self.length:,} tokens; raise --max-length")
        if self.prompts:
            said.append(f"{self.prompts:,} prompts fill {self.length:,} tokens and teach nothing; raise --max-length")
        return said


def count_cut(tokenizer: PreTrainedTokenizerBase, examples: Examples, length: int) -> Cut:
    """Return what training at this length cuts; raises InputError when the template refuses a conversation."""
    answers = prompts = 0
    for split in (examples.train, examples.test):
        if split is None:
            continue
        for rows in _rows(split):
            wholes = [text for row in rows for text in _wholes(tokenizer, row)]
            owners = [number for number, row in enumerate(rows) for _ in _answers(row)]
            sizes = zip(owners, _lengths(tokenizer, wholes), strict=True)
            long = sorted({owner for owner, size in sizes if size > length})
            before = _lengths(tokenizer, [_prompt(tokenizer, rows[number]) for number in long])
            full = sum(count >= length for count in before)
            answers, prompts = answers + len(long) - full, prompts + full
    return Cut(length, answers, prompts)


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
    return [row[name] for name in ("completion", "chosen", "rejected") if name in row]


def _wholes(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> list[str]:
    answers = _answers(row)
    if "text" in row:
        return [str(text) for text in answers]
    return [rendered(tokenizer, [*row.get("prompt", []), *answer]) for answer in answers]


def _prompt(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> str:
    return rendered(tokenizer, row["prompt"], prompt=True) if "prompt" in row else ""


def _lengths(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[int]:
    """Return the texts' tokens."""
    if not texts:
        return []
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
