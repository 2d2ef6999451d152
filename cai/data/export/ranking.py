"""The ranked answers of a row: one example a prompt, for listwise trainers and for who makes pairs of their own.

`answers` has the best first. `rank` counts from 1, equally strong answers share one; `score` is the strength in
log-odds, with the mean 0 in each row, so that s(score - score) is how likely one is better, s being the logistic
function; `error` is its standard error (`cai.method.ranking`). `source` and `model` say whose answer it is. Of so many
`comparisons` of two answers the ranking is made; of `triples` that were compared in all ways, so many are `cycles`.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from cai.core.arrow import MESSAGES
from cai.core.records import Row
from cai.data.export.answers import answers_of, rank_row
from cai.data.quality import Record
from cai.rundir.layout import RANKING

_ANSWER = [
    ("text", pa.string()),
    ("rank", pa.int64()),
    ("score", pa.float64()),
    ("error", pa.float64()),
    ("source", pa.string()),
    ("model", pa.string()),
]


def ranking_schema(*, reasoning: bool = False) -> pa.Schema:
    """Return the columns; with `reasoning` answers have what the model thought before them."""
    answer = pa.struct([*_ANSWER, ("thinking", pa.string())] if reasoning else _ANSWER)
    return pa.schema(
        [
            ("id", pa.string()),
            ("prompt", MESSAGES),
            ("answers", pa.list_(answer)),
            ("comparisons", pa.int64()),
            ("triples", pa.int64()),
            ("cycles", pa.int64()),
        ]
    )


def ranked_answers(row: Row, record: Record, *, reasoning: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the row's example, if two of its answers can be ranked; `record` hears of the others."""
    ranking = rank_row(row, RANKING, record)
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
    yield {
        "id": row.prompt.id,
        "prompt": row.prompt.messages,
        "answers": answers,
        "comparisons": ranking.comparisons,
        "triples": ranking.triples.complete,
        "cycles": ranking.triples.cyclic,
    }
