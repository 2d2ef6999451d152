"""`python -m benchmarks.peers`: cai beside other people's tools, in the same four requests a row.

Every side fills 1,000 rows with respond, critique, revise and judge (one order), in the same words, by asking the
stand-in server of 256 slots at 2 and at 8 ms a token; and 200 rows by asking `vllm serve` on the embedded model, where
the model, the server and the side share this machine's cores. What is measured is the whole command, imports included.

Then each side is killed half way, at 8 ms a token, and started again. Each `chain_*.py` tells with which settings its
tool runs; a tool that cannot run here is in the table with what it said.
"""

import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import orjson

from benchmarks.costs import Costs
from benchmarks.figures import print_figures
from benchmarks.peers.environments import version
from benchmarks.peers.measuring import Result, Setting, measure, measure_kills, measure_memory
from benchmarks.peers.servers import fresh_stand_in, vllm_server
from benchmarks.peers.sides import PEERS, Peer, Side
from benchmarks.peers.tables import OURS, Results, as_json, figures, print_kills, print_speed
from benchmarks.processes import MeasuringError
from benchmarks.prompts import write_prompts
from benchmarks.where import taken
from cai.core.resources import shipped

RESULTS = Path(__file__).parents[1] / "peers.json"
VLLM_ROWS = 200
VLLM_LEAST = 0.97
"""The embedded model sometimes answers twice with the same text, or with none; cai then asks no judge."""
Measured = list[tuple[Setting, Results]]
_PACKAGES = ("cai", "aiohttp", "uvloop", "orjson", "pyarrow")


def long_prompts(rows: int) -> list[dict[str, str]]:
    """Return prompts for the stand-in server."""
    with TemporaryDirectory() as name:
        write_prompts(Path(name, "prompts.jsonl"), rows)
        return [orjson.loads(line) for line in Path(name, "prompts.jsonl").read_bytes().splitlines()]


def world_prompts(rows: int) -> list[dict[str, str]]:
    """Return prompts that the embedded model understands."""
    lines = shipped("prompts", "sets").joinpath("tiny.jsonl").read_bytes().splitlines()[:rows]
    return [{"id": row["id"], "prompt": row["prompt"]} for row in map(orjson.loads, lines)]


def versions(peers: Sequence[Peer]) -> dict[str, str]:
    """Return the versions of the peers, whose environments are made first; or why there is none."""
    found = {}
    for peer in peers:
        try:
            found[peer.distribution] = version(peer.chain, peer.distribution)
        except MeasuringError as error:
            found[peer.distribution] = str(error)
    return found


def measure_stand_in(sides: Sequence[Side], rows: int, runs: int, speeds: Sequence[int], kills: int) -> Measured:
    """Measure at each speed; memory and kills at the last one."""
    measured: Measured = []
    for speed in speeds:
        server = partial(fresh_stand_in, Costs(decode_us=1000 * speed))
        setting, results = (
            Setting(f"{speed} ms a token", server, long_prompts(rows)),
            {side: Result() for side in sides},
        )
        measure(setting, sides, runs, results)
        if speed == speeds[-1]:
            measure_memory(setting, sides, results)
            measure_kills(setting, sides, kills, results)
        measured.append((setting, results))
        print_speed(setting, results)
    if kills:
        print_kills(*measured[-1])
    return measured


def measure_vllm(sides: Sequence[Side], runs: int) -> Measured:
    """Measure against one vLLM server, whose prefix cache is emptied before each command."""
    results = {side: Result() for side in sides}
    with vllm_server() as server:
        setting = Setting("vllm serve", lambda: nullcontext(server), world_prompts(VLLM_ROWS), VLLM_LEAST)
        measure(setting, sides, runs, results)
    print_speed(setting, results)
    return [(setting, results)]


@click.command()
@click.option("--peer", "names", multiple=True, type=click.Choice([peer.name for peer in PEERS]), help="Default: all.")
@click.option("--rows", default=1000, show_default=True, help="For the stand-in server.")
@click.option("--runs", default=5, show_default=True)
@click.option("--speed", "speeds", multiple=True, type=int, default=(2, 8), show_default=True, help="ms a token.")
@click.option("--kills", default=3, show_default=True, help="At the last of the speeds.")
@click.option("--vllm/--no-vllm", default=True, show_default=True, help="Ask vllm serve as well (.venv-vllm).")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(
    names: tuple[str, ...], rows: int, runs: int, speeds: tuple[int, ...], kills: int, vllm: bool, results: Path
) -> None:
    """Measure cai beside its peers and keep the figures of this call.

    Takes half an hour; for figures worth keeping, leave the machine to it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that commands under measurement are ended too
    peers = [peer for peer in PEERS if not names or peer.name in names]
    installed = versions(peers)
    sides: list[Side] = [OURS, *peers]
    measured = measure_stand_in(sides, rows, runs, speeds, kills)
    if vllm:
        try:
            measured += measure_vllm(sides, runs)
        except MeasuringError as error:
            click.echo(f"vllm serve: {error}", err=True)
    found = [figure for setting, result in measured for figure in figures(setting, result)]
    print_figures("cai beside its peers", found)
    report = taken(_PACKAGES) | {"peers": installed, "figures": [figure.as_json() for figure in found]}
    report["settings"] = {setting.name: as_json(setting, result) for setting, result in measured}
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
