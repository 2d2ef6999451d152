"""The comparison as tables for people, and as figures with their targets."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.peers.measuring import Result, Setting
from benchmarks.peers.sides import Cai, Peer, Side

OURS = Cai()
Results = Mapping[Side, Result]
TARGETS = {"2 ms a token": 1.25, "8 ms a token": 1.05}
"""How many times as fast as the fastest peer cai should be; in every other setting it should be faster."""
WIDTH = 120
DISTILABEL = 2.0
"""How many times as fast as distilabel it should be."""


def print_speed(setting: Setting, results: Results) -> None:
    """Print what the whole commands took, medians."""
    table = _table(f"{setting.name}: {len(setting.prompts):,} rows, {4 * len(setting.prompts):,} requests")
    for column in ("whole command", "x cai", "slots busy", "processor", "tokens computed", "memory"):
        table.add_column(column, justify="right")
    for side, result in results.items():
        if not result.runs:
            table.add_row(side.name, f"[red]{result.failure}[/red]")
            continue
        runs = result.runs
        share = [seen.busy_share for _, seen in runs if seen.busy_share is not None]
        table.add_row(
            side.name,
            f"{result.seconds:.2f} s",
            f"{result.seconds / results[OURS].seconds:.2f}" if results[OURS].runs else "",
            f"{100 * median(share):.0f} %" if share else "",
            f"{median(ran.processor_seconds for ran, _ in runs):.1f} s",
            f"{median(seen.computed_tokens for _, seen in runs):,.0f}",
            "" if result.memory is None else f"{result.memory:,.0f} MiB",
        )
    Console(width=WIDTH).print(table)


def print_kills(setting: Setting, results: Results) -> None:
    """Print what each kill cost, one line a kill."""
    table = _table(f"{setting.name}: killed half way, and the same command again")
    for column in ("in flight", "repeated", "rows lost", "rows doubled", "second run"):
        table.add_column(column, justify="right")
    for side, result in results.items():
        for kill in result.kills:
            numbers = (kill.in_flight, kill.repeated, kill.lost, kill.doubled)
            table.add_row(side.name, *(f"{number:,}" for number in numbers), kill.outcome)
        if result.failure is not None:
            table.add_row(side.name, "", "", "", "", f"[red]{result.failure}[/red]")
    Console(width=WIDTH).print(table)


def figures(setting: Setting, results: Results) -> list[Figure]:
    """Return the ratios that have targets: cai against the fastest peer, and against distilabel; and the kills."""
    found: list[Figure] = []
    if not results[OURS].runs:
        return found
    peers = {side: result for side, result in results.items() if side != OURS and result.runs}
    ours = results[OURS].seconds
    if peers:
        fastest = min(peers, key=lambda side: peers[side].seconds)
        target = TARGETS.get(setting.name, 1.0)
        name = f"{setting.name}: {fastest.name} (the fastest peer) / cai"
        found.append(Figure(name, peers[fastest].seconds / ours, "x", target, "at least"))
        resuming = [side for side in peers if side.resumes]
        if not fastest.resumes and resuming:
            fastest = min(resuming, key=lambda side: peers[side].seconds)
            name = f"{setting.name}: {fastest.name} (the fastest peer that can resume) / cai"
            found.append(Figure(name, peers[fastest].seconds / ours, "x", target, "at least"))
    for side, result in peers.items():
        if isinstance(side, Peer) and side.chain == "distilabel":
            name = f"{setting.name}: {side.name} / cai"
            found.append(Figure(name, result.seconds / ours, "x", DISTILABEL, "at least"))
    kills = results[OURS].kills
    if kills:
        found.append(Figure(f"{setting.name}: rows lost by cai", max(kill.lost for kill in kills), "rows", 0))
        found.append(Figure(f"{setting.name}: rows doubled by cai", max(kill.doubled for kill in kills), "rows", 0))
    return found


def as_json(setting: Setting, results: Results) -> dict[str, Any]:
    """Return all that was measured in a setting, run by run."""
    sides = {}
    for side, result in results.items():
        runs = [asdict(ran) | asdict(seen) for ran, seen in result.runs]
        kills = [asdict(kill) for kill in result.kills]
        sides[side.name] = {"failure": result.failure, "runs": runs, "memory_mib": result.memory, "kills": kills}
    return {"rows": len(setting.prompts), "sides": sides}


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    return table
