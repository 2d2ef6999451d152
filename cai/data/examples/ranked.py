"""Several answers to one prompt, with what tells the better: ranks, or scores.

`answers` is a list of {text | messages, rank?, score?, model?, thinking?}. Rank 1 is the best and a higher score is
better; ranks count where there are both. Read, an answer is {completion, rank, score, model}: the assistant's one turn,
and a rank in every case, 1, 2, 3 …, which equally good answers share. Answers of one rank are not compared.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from cai.data.examples.conversations import THINKING, Turns, read_answer
from cai.data.examples.labels import read_number
from cai.data.rows import BadRowError

_FEWEST = 2


def read_ranked(value: Any, prompt: Turns) -> list[dict[str, Any]]:
    """Return the answers, the best first; raises BadRowError where there are no two of them, or one has no place.

    An answer without a rank or a score among others that have one cannot be placed; it is an error and not the worst.
    """
    if not isinstance(value, list) or len(value) < _FEWEST:
        raise BadRowError("the answers are no list of two or more")
    answers = [_read(item, prompt) for item in value]
    by = next((name for name in ("rank", "score") if all(answer[name] is not None for answer in answers)), None)
    if by is None:
        raise BadRowError("an answer has neither rank nor score, or not the one that the others have")
    places = sorted({answer[by] for answer in answers}, reverse=by == "score")
    for answer in answers:
        answer["rank"] = places.index(answer[by]) + 1
    return sorted(answers, key=lambda answer: answer["rank"])


def ranked_pairs(answers: Sequence[dict[str, Any]]) -> Iterator[tuple[Turns, Turns]]:
    """Yield the better and the worse of every two answers of different ranks (arXiv 2203.02155, section 3.5).

    Two that say the same are no pair. Raises BadRowError where no pair is left, and behind the last one where there
    were ties, so that lists with ties are counted.
    """
    count = ties = 0
    for better, worse in combinations(answers, 2):
        texts = [one["completion"][0]["content"].strip() for one in (better, worse)]
        ties += better["rank"] == worse["rank"]
        if better["rank"] != worse["rank"] and texts[0] != texts[1]:
            count += 1
            yield better["completion"], worse["completion"]
    if not count:
        raise BadRowError("no two of the answers have different ranks and texts")
    if ties:
        raise BadRowError(f"answers of one rank make no pair ({ties} beside {count} that do)")


def _read(item: Any, prompt: Turns) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise BadRowError("an answer is no object with text and rank or score")
    said = item.get("text") if item.get("text") is not None else item.get("messages")
    model, thought = item.get("model"), item.get(THINKING)
    if isinstance(said, str) and thought:
        said = [{"role": "assistant", "content": said, THINKING: thought}]
    return {
        "completion": read_answer(said, prompt),
        **{name: read_number(item.get(name)) for name in ("rank", "score")},
        "model": model if isinstance(model, str) else None,
    }
