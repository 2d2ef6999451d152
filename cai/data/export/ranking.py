"""The ranked answers of a row: one example a prompt, for listwise trainers and for who makes pairs of their own.

`answers` has the best first. `rank` counts from 1, equally strong answers share one; `score` is the strength in
log-odds, with the mean 0 in each row, so that s(score - score) is how likely one is better, s being the logistic
function; `error` is its standard error (`cai.method.ranking`). `source` and `model` say whose answer it is. Of so many
`comparisons` of two answers the ranking is made; of `triples` that were compared in all ways, so many are `cycles`.

People's ranking of k answers is C(k, 2) comparisons of each person who ranked them (arXiv 2203.02155, section 3.5).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from cai.core.arrow import MESSAGES
from cai.core.records import Row
from cai.data.export.answers import Said, answers_of, rank_row, whole_answers
from cai.data.export.people import LABEL_BY, VOTES, Labels, People
from cai.data.export.preference import LABELLED_BY
from cai.data.quality import Record
from cai.method.steps import Step
from cai.rundir.layout import RANKING

_ANSWER = [
    ("text", pa.string()),
    ("rank", pa.int64()),
    ("score", pa.float64()),
    ("error", pa.float64()),
    ("source", pa.string()),
    ("model", pa.string()),
]


def ranking_schema(*, reasoning: bool = False, labels: Labels = "judge") -> pa.Schema:
    """Return the columns; with `reasoning` answers have what the model thought before them.

    Where people were asked, whose ranking it is and how many they were is beside it.
    """
    answer = pa.struct([*_ANSWER, ("thinking", pa.string())] if reasoning else _ANSWER)
    return pa.schema(
        [
            ("id", pa.string()),
            ("prompt", MESSAGES),
            ("answers", pa.list_(answer)),
            ("comparisons", pa.int64()),
            ("triples", pa.int64()),
            ("cycles", pa.int64()),
            *(LABELLED_BY if labels != "judge" else ()),
        ]
    )


def ranked_answers(
    row: Row, record: Record, *, reasoning: bool = False, labels: Labels = "judge", people: People | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the row's example, if two of its answers can be ranked; `record` hears of the others.

    With `labels` of `human` or `both` it is people's where they ranked the answers; of `human` there is no other.
    """
    by_people: Sequence[Mapping[str, int]] = ()
    if people is not None and labels != "judge":
        steps = whole_answers(row)
        by_people = people.rankings(row.prompt.messages, [step.text for step in steps.values()])
        if labels == "human" and not by_people:
            return
    said = [outcome for ranks in by_people for outcome in _outcomes(steps, ranks)] if by_people else None
    ranking = rank_row(row, RANKING, record, said)
    if ranking is None:
        return
    texts, ranks = answers_of(row), ranking.ranks()
    models = {str(trace.sample): trace.model for trace in row.traces}
    answers = []
    for source in ranking.order:
        answer = {
            "text": texts[source].text,
            "rank": ranks[source],
            "score": ranking.strength(source),
            "error": ranking.error(source),
            "source": source,
            "model": models[source.partition(":")[2]],
        }
        answers.append({**answer, "thinking": texts[source].reasoning} if reasoning else answer)
    example = {
        "id": row.prompt.id,
        "prompt": row.prompt.messages,
        "answers": answers,
        "comparisons": ranking.comparisons,
        "triples": ranking.triples.complete,
        "cycles": ranking.triples.cyclic,
    }
    if labels != "judge":
        example |= {LABEL_BY: "people" if by_people else "judge", VOTES: len(by_people) or None}
    yield example


def _outcomes(steps: Mapping[str, Step], ranks: Mapping[str, int]) -> Said:
    """Return the comparisons that a person's ranking is: of equal ranks neither is better."""
    pairs = [(a, b, ranks[steps[a].text], ranks[steps[b].text]) for a, b in combinations(steps, 2)]
    return [(a, b, 0.5 if one == other else float(one < other)) for a, b, one, other in pairs]
