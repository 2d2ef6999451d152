"""Layouts of several answers to one prompt, with a rank or a score each.

Their canonical form is a prompt and `answers`, a list of {text or messages, rank or score, perhaps model}: rank 1 is
the best, a higher score is better, and answers of one rank are not compared. It may be written as it is, too.
"""

from collections.abc import Iterator
from itertools import repeat

from cai.data.examples.conversations import read_text_turns
from cai.data.rows import BadRowError
from cai.data.shapes.descriptor import Canonical, Row, Shape, items, text


def _rewardbench(row: Row) -> Iterator[Canonical]:
    answers = [(answer, rank) for rank, column in ((1, "chosen"), (2, "rejected")) for answer in items(row, column)]
    models = row.get("models")
    known = models if isinstance(models, list) and len(models) == len(answers) else repeat(None)
    yield {
        "answers": [
            {"text": text, "rank": rank, "model": model} for (text, rank), model in zip(answers, known, strict=False)
        ]
    }


def _nemo(row: Row) -> Iterator[Canonical]:
    """Yield NeMo-RL's completions: their ranks count from 0, the best."""
    answers = []
    for item in items(row, "completions"):
        rank = item.get("rank") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(rank, int) or isinstance(rank, bool):
            raise BadRowError("a completion has no rank")
        answers.append({"messages": item.get("completion"), "rank": rank + 1, "score": item.get("score")})
    yield {"answers": answers}


def _distilabel(row: Row) -> Iterator[Canonical]:
    """Yield UltraFeedback's task in distilabel: as many ratings as generations, None where there is none."""
    generations, ratings = items(row, "generations"), items(row, "ratings")
    if len(generations) != len(ratings):
        raise BadRowError("there are not as many ratings as generations")
    models = row.get("generation_models")
    known = models if isinstance(models, list) and len(models) == len(ratings) else repeat(None)
    yield {
        "answers": [
            {"text": one, "score": rating, "model": model}
            for one, rating, model in zip(generations, ratings, known, strict=False)
        ]
    }


def _nectar_prompt(row: Row) -> object:
    """Return Nectar's prompt: a text in HH's form, which ends where the assistant's turn begins."""
    return read_text_turns(text(row, "prompt").rstrip().removesuffix("Assistant:").rstrip())


def _nectar(row: Row) -> Iterator[Canonical]:
    answers = [answer if isinstance(answer, dict) else {} for answer in items(row, "answers")]
    yield {
        "answers": [
            {"text": answer.get("answer"), "rank": answer.get("rank"), "model": answer.get("model")}
            for answer in answers
        ]
    }


def _is_nectar(row: Row) -> bool:
    answers = row.get("answers")
    return isinstance(answers, list) and any(isinstance(answer, dict) and "answer" in answer for answer in answers)


def _is_list_of_texts(row: Row) -> bool:
    chosen = row.get("chosen")
    return isinstance(chosen, list) and bool(chosen) and all(isinstance(answer, str) for answer in chosen)


def _bigbench(row: Row) -> Iterator[Canonical]:
    """Yield the targets of a task as answers, each with its score; of the HHH files 1 is right and 0 is wrong."""
    targets = row.get("target_scores")
    if not isinstance(targets, dict):
        raise BadRowError("the target_scores are no object of answers with scores")
    yield {"answers": [{"text": answer, "score": score} for answer, score in targets.items()]}


RANKED = (
    Shape(
        "rewardbench-2",
        "RewardBench 2's best of several answers",
        ("prompt", "chosen", "rejected"),
        ("answers",),
        lambda row: row.get("prompt"),
        _rewardbench,
        reads=("models",),
        form=_is_list_of_texts,
    ),
    Shape(
        "nemo-rl",
        "NeMo-RL's ranked completions",
        ("context", "completions"),
        ("answers",),
        lambda row: row.get("context"),
        _nemo,
    ),
    Shape(
        "nectar",
        "Nectar's ranked answers",
        ("prompt", "answers"),
        ("answers",),
        _nectar_prompt,
        _nectar,
        form=_is_nectar,
    ),
    Shape(
        "big-bench",
        "BIG-bench's answers with scores",
        ("input", "target_scores"),
        ("answers",),
        lambda row: row.get("input"),
        _bigbench,
    ),
    Shape(
        "distilabel",
        "distilabel's rated generations",
        ("instruction", "generations", "ratings"),
        ("answers",),
        lambda row: row.get("instruction"),
        _distilabel,
        reads=("generation_models",),
    ),
)
