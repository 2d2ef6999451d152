"""The yardstick: the requests of a row, sent by a loop that does nothing else.

`python -m benchmarks.bare URL PROMPTS` asks for a response, a critique, a revision and one verdict for every prompt in
a JSONL file, keeps nothing, and prints the seconds it took. What any orchestrator adds to this is its own.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import click
import orjson
import uvloop

from cai.constitution import load_constitution
from cai.method.templates import Templates

ROWS_IN_FLIGHT = 288
MAX_TOKENS = 64


class Texts:
    """What is asked after a prompt, rendered once, in the words that cai uses."""

    def __init__(self) -> None:
        templates, principle = Templates.load("en"), load_constitution("harmless").principles[0]
        self.critique = templates.critique(principle)
        self.revision = templates.revision(principle)
        self._judge = templates.judge(principle, [{"role": "user", "content": "%0%"}], "%1%", "%2%")

    def judge(self, prompt: str, first: str, second: str) -> str:
        """Return the judge's question about two answers."""
        return self._judge.replace("%0%", prompt).replace("%1%", first).replace("%2%", second)


async def ask(session: aiohttp.ClientSession, url: str, turns: list[str], **settings: Any) -> str:
    """Return the next turn of a conversation whose turns alternate, user first."""
    messages = [{"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns)]
    body = orjson.dumps({"model": "mock", "messages": messages, "max_tokens": MAX_TOKENS, "seed": 1} | settings)
    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
        answer = orjson.loads(await response.read())
    text: str = answer["choices"][0]["message"]["content"]
    return text


async def work(session: aiohttp.ClientSession, url: str, prompts: Iterator[str], texts: Texts) -> None:
    """Carry one prompt after another through its four requests."""
    for prompt in prompts:
        response = await ask(session, url, [prompt])
        asked = [prompt, response, texts.critique]
        critique = await ask(session, url, asked)
        revision = await ask(session, url, [*asked, critique, texts.revision])
        question = texts.judge(prompt, response, revision)
        await ask(session, url, [question], max_tokens=1, logprobs=True, top_logprobs=20)


async def run(url: str, prompts: list[str]) -> float:
    """Ask everything for every prompt; return the seconds from the first request to the last answer."""
    texts, source = Texts(), iter(prompts)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        await asyncio.gather(
            *(work(session, f"{url}/v1/chat/completions", source, texts) for _ in range(ROWS_IN_FLIGHT))
        )
        return time.perf_counter() - began


@click.command()
@click.argument("url")
@click.argument("prompts", type=click.Path(exists=True, path_type=Path))
def main(url: str, prompts: Path) -> None:
    """Print the seconds that a server takes over all prompts."""
    texts = [orjson.loads(line)["prompt"] for line in prompts.read_bytes().splitlines()]
    print(uvloop.run(run(url, texts)))


if __name__ == "__main__":
    main()
