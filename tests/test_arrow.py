"""The Arrow schema says exactly what the records say."""

import types
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import orjson
import pyarrow as pa
import pytest

from cai.core.arrow import ROW
from cai.core.records import Criterion, Finding, PartFailure, Row, Score, row_from_dict
from tests.storage import make_row

SCALARS: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def arrow_type(hint: Any) -> pa.DataType:
    """Return the Arrow type that mirrors a type annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return arrow_type(inner)
    if origin is tuple:
        return pa.list_(arrow_type(arguments[0]))
    if origin is Literal:
        return pa.string()
    if is_dataclass(hint) or is_typeddict(hint):
        hints = get_type_hints(hint)
        names = [field.name for field in fields(hint)] if is_dataclass(hint) else list(hints)
        return pa.struct([(name, arrow_type(hints[name])) for name in names])
    return SCALARS[hint]


def test_the_schema_mirrors_the_records_field_by_field() -> None:
    assert pa.struct(list(ROW)) == arrow_type(Row)


def test_a_row_survives_json_and_arrow() -> None:
    part = PartFailure("sample:1", "critique", "http 400", "refused", "{}", ("response", "gate"))
    row = make_row(7)
    rubric = (Criterion("names a dose", -5.0, ("axis:accuracy",)), Criterion("kind", 2.5))
    prompt = replace(row.prompt, rubric=rubric, references=("A week.", "일주일."))
    scores = (
        Score("final:0", "rubric", "a judge", 0.25, (Finding("kind", None, 0.1),)),
        Score("x", "reward", "m", None),
    )
    row = replace(row, prompt=prompt, failed=(part,), scores=scores)
    assert row_from_dict(orjson.loads(orjson.dumps(row))) == row
    table = pa.Table.from_pylist([orjson.loads(orjson.dumps(row))], schema=ROW)
    assert row_from_dict(table.to_pylist()[0]) == row


@pytest.mark.parametrize("value", [{}, {"prompt": 3}, {"prompt": {"id": "a"}}, [], None, 7])
def test_what_is_no_row_is_refused(value: Any) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError)):
        row_from_dict(value)
