"""What a row costs does not creep up: its calls are counted again and held against those that were recorded."""

from pathlib import Path

import orjson

from benchmarks.calls import RESULTS, calls_a_row

GROWTH = 1.1


def test_a_row_makes_no_more_calls_than_were_recorded(tmp_path: Path) -> None:
    recorded = orjson.loads(RESULTS.read_bytes())
    found = calls_a_row(tmp_path, few=40, many=120)
    before, now = recorded["calls_a_row"]["scripted"], found.total()
    rooms = {name: calls - recorded["by_room"]["scripted"].get(name, 0.0) for name, calls in found.items()}
    grown = sorted(rooms, key=lambda name: -rooms[name])[:5]
    assert now <= GROWTH * before, (
        f"a row makes {now:,.0f} calls where {before:,} were recorded; most more in "
        f"{', '.join(f'{name} ({rooms[name]:+,.0f})' for name in grown)}: make it cheaper, or say in the commit why "
        "it is worth that, and record it with `python -m benchmarks.calls`"
    )
    assert now >= before / 2, (
        "a row makes far fewer calls than were recorded: record them with python -m benchmarks.calls"
    )
