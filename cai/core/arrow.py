"""The Arrow schema of `records.Row`, field by field, and JSON as tables of a schema.

This is the format of sealed shards. Every field of every record has its column of the same name; a tuple is a list, an
optional field may be null. A test holds the schema and the records together. Knows nothing of where files lie.
"""

import pyarrow as pa
import pyarrow.json as pj

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])

MESSAGES = pa.list_(MESSAGE)

THINKING_MESSAGES = pa.list_(pa.struct([*MESSAGE, ("thinking", pa.string())]))
"""Messages with what the model thought before them, in the field that TRL and chat templates have for it."""

CRITERION = pa.struct([("criterion", pa.string()), ("points", pa.float64()), ("tags", pa.list_(pa.string()))])

PROMPT = pa.struct(
    [
        ("id", pa.string()),
        ("ordinal", pa.int64()),
        ("messages", MESSAGES),
        ("tags", pa.list_(pa.string())),
        ("rubric", pa.list_(CRITERION)),
        ("references", pa.list_(pa.string())),
    ]
)

ROUND = pa.struct(
    [
        ("principle_id", pa.string()),
        ("gate", pa.float64()),
        ("critique", pa.string()),
        ("revision", pa.string()),
        ("truncated", pa.bool_()),
        ("gate_mass", pa.float64()),
        ("gate_reasoning", pa.string()),
        ("critique_reasoning", pa.string()),
        ("revision_reasoning", pa.string()),
    ]
)

TRACE = pa.struct(
    [
        ("sample", pa.int64()),
        ("seed", pa.int64()),
        ("response", pa.string()),
        ("rounds", pa.list_(ROUND)),
        ("final", pa.string()),
        ("truncated", pa.bool_()),
        ("reasoning", pa.string()),
        ("model", pa.string()),
    ]
)

JUROR_VOTE = pa.struct(
    [
        ("judge", pa.string()),
        ("first", pa.float64()),
        ("second", pa.float64()),
        ("probability", pa.float64()),
        ("abstained", pa.string()),
    ]
)

VERDICT = pa.struct(
    [
        ("a_source", pa.string()),
        ("b_source", pa.string()),
        ("principle_id", pa.string()),
        ("first", pa.float64()),
        ("second", pa.float64()),
        ("first_mass", pa.float64()),
        ("second_mass", pa.float64()),
        ("probability", pa.float64()),
        ("abstained", pa.string()),
        ("rationales", pa.list_(pa.string())),
        ("unreadable", pa.list_(pa.string())),
        ("jurors", pa.list_(JUROR_VOTE)),
    ]
)

FINDING = pa.struct([("about", pa.string()), ("probability", pa.float64()), ("mass", pa.float64())])

SCORE = pa.struct(
    [
        ("source", pa.string()),
        ("by", pa.string()),
        ("model", pa.string()),
        ("value", pa.float64()),
        ("findings", pa.list_(FINDING)),
    ]
)

PART_FAILURE = pa.struct(
    [
        ("part", pa.string()),
        ("stage", pa.string()),
        ("kind", pa.string()),
        ("cause", pa.string()),
        ("raw", pa.string()),
        ("answered", pa.list_(pa.string())),
    ]
)

USAGE = pa.struct(
    [
        ("requests", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)

PROVENANCE = pa.struct(
    [
        ("model", pa.string()),
        ("judge", pa.string()),
        ("constitution", pa.string()),
        ("judge_constitution", pa.string()),
        ("templates", pa.string()),
        ("judge_templates", pa.string()),
        ("inputs", pa.string()),
        ("seed", pa.int64()),
        ("judge_seed", pa.int64()),
    ]
)

ROW = pa.schema(
    [
        ("prompt", PROMPT),
        ("traces", pa.list_(TRACE)),
        ("verdicts", pa.list_(VERDICT)),
        ("usage", USAGE),
        ("provenance", PROVENANCE),
        ("failed", pa.list_(PART_FAILURE)),
        ("scores", pa.list_(SCORE)),
    ]
)


def table_from_json(lines: bytes, schema: pa.Schema) -> pa.Table:
    """Return the objects in `lines`, one a line and at least one, as a table of this schema.

    Other threads go on meanwhile. To take Python objects instead, Arrow would import pandas first, a quarter of a
    second. Raises pa.ArrowInvalid when a line is no JSON or has other fields.
    """
    return pj.read_json(
        pa.BufferReader(lines),
        # One block for everything: a line must not straddle two, and lines have no upper size.
        read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )
