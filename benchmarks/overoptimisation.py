"""`python -m benchmarks.overoptimisation`: what a policy gains by the oracle while a reward model says it gains more.

Gao, Schulman and Hilton's setting (arXiv 2210.10760) in the embedded model's world. The oracle labels pairs of the base
model's answers; a quarter of the labels is turned round, as in Coste et al. (2310.02743), and reward models of several
seeds learn from them. Then the base model's answers are optimised against one of them, and against all together
(`cai.train.rewards.ensemble`): by taking the best of n, whose distance from the base is log n - (n - 1) / n nats, and
by GRPO without a KL penalty, whose distance is measured. The oracle says what share of the answers is good.

Prints tables, draws both curves over the root of the distance, and writes a file of results. Work is shared out to
`--jobs` processes of one thread each.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each process of the pool has one core

import json
import math
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
import orjson
import torch
import transformers
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import cai
from benchmarks.where import taken
from cai.core.identity import derive_seed
from cai.drawing.canvas import encode, new_figure
from cai.models import TINY
from cai.models.base import Sampling
from cai.models.reward_model import RewardModel
from cai.tiny import oracle
from cai.train.rewards.ensemble import Ensemble, Scale
from cai.train.trainers.rollouts import Rollouts
from cai.train.trainers.value_model import log_probs

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "overoptimisation.json"
MAX_TOKENS = 128
RATE = 5e-4
"""GRPO's learning rate: higher than its default, to get far from the base in few steps."""
RESAMPLES = 1000

Floats = NDArray[np.float64]

transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class Way:
    """How members' scores become one proxy: a single member's, or an ensemble's."""

    name: str
    members: tuple[int, ...]
    ensemble: Any = "penalty"
    disagreement: float = 0.0

    def proxy(self, scores: Floats, scales: Sequence[Scale]) -> Floats:
        """Return a proxy an answer from the scores of all members, shape (members, answers)."""
        own = [scales[member] for member in self.members]
        told, _ = Ensemble(self.ensemble, self.disagreement, tuple(own)).combine(scores[list(self.members)].tolist())
        return np.array(told, dtype=np.float64)


def ways(members: int) -> list[Way]:
    """Return the ways that are compared; of single members there is a curve each."""
    everybody = tuple(range(members))
    return [
        *(Way("one model", (member,)) for member in everybody),
        Way("mean", everybody),
        Way("mean less 1 deviation", everybody, disagreement=1.0),
        Way("worst", everybody, "worst"),
    ]


def best_of(proxy: Floats, worth: Floats, counts: Sequence[int]) -> list[float]:
    """Return the expected worth of the answer with the highest proxy among n that are drawn without replacement.

    The unbiased estimate over all subsets of the answers that are there (2112.09332, appendix I): the answer of rank i
    from below is the best of n in C(i - 1, n - 1) of C(N, n) subsets.
    """
    order, size = np.argsort(proxy, kind="stable"), len(proxy)
    found = []
    for count in counts:
        logs = [
            _log_choose(rank - 1, count - 1) - _log_choose(size, count) if rank >= count else -math.inf
            for rank in range(1, size + 1)
        ]
        found.append(float(np.exp(logs) @ worth[order]))
    return found


def distance(count: int) -> float:
    """Return how far the best of n is from the base, in nats (2210.10760, section 2)."""
    return math.log(count) - (count - 1) / count


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)


def is_good(prompt: str, text: str) -> bool:
    """Return what the oracle says of an answer."""
    question = oracle.understand(prompt)
    return question is not None and oracle.read(question, text).good


def quality(prompt: str, text: str) -> tuple[bool, int, bool]:
    """Return by what the oracle orders two answers: good, then fewer things broken, then on topic."""
    question = oracle.understand(prompt)
    if question is None:
        return False, 0, False
    meaning = oracle.read(question, text)
    return meaning.good, -len(meaning.broken), meaning.on_topic


def read_prompts(path: Path, count: int, seed: int) -> list[str]:
    """Return as many prompts, half of them risky."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    order = np.random.default_rng(derive_seed(seed, "prompts", path.name)).permutation(len(rows))
    asked = [row["prompt"] for row in (rows[place] for place in order) if oracle.understand(row["prompt"]) is not None]
    risky = [prompt for prompt in asked if _is_risky(prompt)]
    benign = [prompt for prompt in asked if not _is_risky(prompt)]
    return [*risky[: count // 2], *benign[: count - count // 2]]


def _is_risky(prompt: str) -> bool:
    question = oracle.understand(prompt)
    return question is not None and question.intent.risky


def draw_answers(directory: str, prompts: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """Return answers to each prompt at temperature 1, those that the token limit cut left out."""
    policy = _Policy(directory)
    drawn = policy.draw([prompt for prompt in prompts for _ in range(count)], seed)
    texts = [policy.text(tokens) for tokens in drawn]
    whole = [tokens[-1] in policy.ends for tokens in drawn]
    rows = [range(place * count, (place + 1) * count) for place in range(len(prompts))]
    return [[texts[at] for at in row if whole[at]] for row in rows]


def score_texts(directory: str, prompts: Sequence[str], texts: Sequence[Sequence[str]]) -> list[list[float]]:
    """Return a reward model's score of each text to each prompt."""
    model = RewardModel(Path(directory), torch.device("cpu"))
    told = model.score([_dialogue(prompt, text) for prompt, some in zip(prompts, texts, strict=True) for text in some])
    values = iter(told)
    return [[float(next(values) or 0.0) for _ in some] for some in texts]


def train_reward(pairs: str, out: str, seed: int) -> float:
    """Train a reward model; return the seconds."""
    began = perf_counter()
    cai.train(
        "reward", data=pairs, model="tiny", out=out, seed=seed, test_share=0.0, epochs=2, device="cpu", progress=False
    )
    return perf_counter() - began


def reinforce(way: Way, rewards: Sequence[str], prompts: str, out: str, steps: int) -> str:
    """Train a policy by GRPO against a way's reward models; return where it is."""
    combined: dict[str, Any] = {"ensemble": way.ensemble} if len(way.members) > 1 else {}
    if combined and way.ensemble == "penalty":
        combined["disagreement"] = way.disagreement
    trained = cai.train(
        "grpo", data=prompts, model="tiny", out=out, max_steps=steps, group=8, batch_size=64, kl_penalty=0.0,
        reward_model=[rewards[member] for member in way.members], **combined, max_tokens=MAX_TOKENS, learning_rate=RATE,
        device="cpu", progress=False, seed=0,
    )  # fmt: skip
    return str(trained.path)


def examine(directory: str, rewards: Sequence[str], prompts: Sequence[str], count: int) -> dict[str, Any]:
    """Return a policy's distance from the base, its good answers a prompt, and every reward model's scores of them."""
    policy, base = _Policy(directory), _Policy(str(TINY))
    asked = [prompt for prompt in prompts for _ in range(count)]
    drawn = policy.draw(asked, 1)
    texts = [policy.text(tokens) for tokens in drawn]
    good = [is_good(prompt, text) for prompt, text in zip(asked, texts, strict=True)]
    gains = policy.log_likelihoods(asked, drawn) - base.log_likelihoods(asked, drawn)
    scores = [score_texts(reward, asked, [[text] for text in texts]) for reward in rewards]
    return {
        "kl": float(gains.mean()),
        "good": np.array(good, dtype=float).reshape(len(prompts), count).mean(1).tolist(),
        "scores": [[row[0] for row in told] for told in scores],
        "tokens": statistics.fmean(map(len, drawn)),
    }


class _Policy:
    """A language model that answers, and says how likely its answers are."""

    def __init__(self, directory: str) -> None:
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(directory)
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        ends = self._model.generation_config.eos_token_id
        self.ends = frozenset(ends if isinstance(ends, list) else [ends])
        self._rollouts = Rollouts(self._model, torch.device("cpu"), self.ends, Sampling(1.0, max_tokens=MAX_TOKENS))

    def draw(self, prompts: Sequence[str], seed: int) -> list[list[int]]:
        """Return an answer to each prompt, as tokens."""
        seeds = [derive_seed(seed, "answer", place) for place in range(len(prompts))]
        return self._rollouts.draw([self._asked(prompt) for prompt in prompts], seeds)

    def text(self, tokens: Sequence[int]) -> str:
        """Return what an answer says."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def log_likelihoods(self, prompts: Sequence[str], answers: Sequence[list[int]]) -> Floats:
        """Return the log-likelihood of each answer behind its prompt, in nats."""
        found = []
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = torch.tensor([[*self._asked(prompt), *answer]])
            with torch.no_grad():
                found.append(float(log_probs(self._model, ids, torch.ones_like(ids), len(answer), 1.0)[0].sum()))
        return np.array(found)

    def _asked(self, prompt: str) -> list[int]:
        chat = [{"role": "user", "content": prompt}]
        tokens: list[int] = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        return tokens


def _dialogue(prompt: str, text: str) -> list[Any]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]


def make_pairs(prompts: Sequence[str], answers: Sequence[Sequence[str]], noise: float, seed: int) -> list[Any]:
    """Return a pair of each prompt that has two answers of unlike quality, a share of the labels turned round."""
    random, rows = np.random.default_rng(derive_seed(seed, "noise")), []
    for prompt, texts in zip(prompts, answers, strict=True):
        ordered = sorted(dict.fromkeys(texts), key=lambda text: quality(prompt, text))
        if len(ordered) > 1 and quality(prompt, ordered[0]) != quality(prompt, ordered[-1]):
            chosen, rejected = ordered[-1], ordered[0]
            if random.random() < noise:
                chosen, rejected = rejected, chosen
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "chosen_probability": 1.0})
    return rows


class Bench:
    """The work in its order, each step shared out to the pool."""

    def __init__(self, pool: ProcessPoolExecutor, jobs: int, directory: Path) -> None:
        self._pool, self._jobs, self._directory = pool, jobs, directory

    def pairs(self, count: int, noise: float) -> tuple[Path, int]:
        """Write pairs of the base model's answers; return the file and how many it holds."""
        prompts = read_prompts(ROOT / "prompts/sets/tiny.jsonl", count, 0)
        rows = make_pairs(prompts, self.answers(prompts, 3), noise, 0)
        file = self._directory / "pairs.jsonl"
        file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        return file, len(rows)

    def rewards(self, pairs: Path, members: int) -> list[str]:
        """Train a reward model a seed; return where they are."""
        places = [str(self._directory / f"reward-{seed}") for seed in range(members)]
        waiting = [self._pool.submit(train_reward, str(pairs), out, seed) for seed, out in enumerate(places)]
        for one in waiting:
            one.result()
        return places

    def answers(self, prompts: Sequence[str], count: int) -> list[list[str]]:
        """Return the base model's answers to each prompt."""
        waiting = [
            self._pool.submit(draw_answers, str(TINY), [prompts[place] for place in places], count, number)
            for number, places in enumerate(self._shares(len(prompts)))
        ]
        return [texts for one in waiting for texts in one.result()]

    def scores(self, rewards: Sequence[str], prompts: Sequence[str], texts: list[list[str]]) -> list[Floats]:
        """Return the scores of each prompt's texts, shape (members, texts), each text scored once."""
        distinct = [list(dict.fromkeys(some)) for some in texts]
        waiting: dict[tuple[int, int], Future[list[list[float]]]] = {}
        shares = list(self._shares(len(prompts)))
        for number, places in enumerate(shares):
            for member, reward in enumerate(rewards):
                given = ([prompts[place] for place in places], [distinct[place] for place in places])
                waiting[number, member] = self._pool.submit(score_texts, reward, *given)
        found: list[Floats] = []
        for number, places in enumerate(shares):
            told = [waiting[number, member].result() for member in range(len(rewards))]
            for at, place in enumerate(places):
                known = [dict(zip(distinct[place], of[at], strict=True)) for of in told]
                found.append(np.array([[scores[text] for text in texts[place]] for scores in known]))
        return found

    def policies(
        self, arms: Sequence[Way], rewards: Sequence[str], prompts: Sequence[str], steps: Sequence[int], count: int
    ) -> dict[tuple[str, int], Future[dict[str, Any]]]:
        """Train and examine a policy an arm and number of steps; the futures are awaited by whoever wants them."""
        learned = str(ROOT / "prompts/sets/tiny.jsonl")
        return {
            (way.name, number): self._pool.submit(
                _reinforced,
                way,
                rewards,
                learned,
                str(self._directory / f"grpo-{place}-{number}"),
                number,
                prompts,
                count,
            )
            for number in sorted(steps, reverse=True)  # the longest first
            for place, way in enumerate(arms)
        }

    def _shares(self, count: int) -> Iterator[list[int]]:
        yield from (part.tolist() for part in np.array_split(np.arange(count), min(count, self._jobs)))


def _reinforced(
    way: Way, rewards: Sequence[str], learned: str, out: str, steps: int, prompts: Sequence[str], count: int
) -> dict[str, Any]:
    return examine(reinforce(way, rewards, learned, out, steps), rewards, prompts, count)


def curves(
    scores: Sequence[Floats], good: Sequence[Floats], scales: Sequence[Scale], counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Return for each way, and each n, proxy and oracle of the best of n: means over prompts, and their interval."""
    found = []
    for way in ways(len(scales)):
        proxies = [way.proxy(told, scales) for told in scores]
        oracles = np.array([best_of(proxy, worth, counts) for proxy, worth in zip(proxies, good, strict=True)])
        told = np.array([best_of(proxy, proxy, counts) for proxy in proxies])
        low, high = interval(oracles)
        found.append(
            {
                "way": way.name,
                "members": list(way.members),
                "n": list(counts),
                "kl": [distance(count) for count in counts],
                "proxy": told.mean(0).tolist(),
                "good": oracles.mean(0).tolist(),
                "low": low,
                "high": high,
            }
        )
    return found


def interval(values: Floats) -> tuple[list[float], list[float]]:
    """Return the ends of the 95 % bootstrap interval over the prompts, of each column's mean."""
    random = np.random.default_rng(0)
    means = np.array([values[random.integers(len(values), size=len(values))].mean(0) for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return np.atleast_1d(low).tolist(), np.atleast_1d(high).tolist()


def points(
    examined: Mapping[tuple[str, int], dict[str, Any]], arms: Sequence[Way], scales: Sequence[Scale]
) -> list[dict[str, Any]]:
    """Return for each policy its distance, its proxy, and the oracle with its interval over prompts."""
    found = []
    for (name, steps), one in sorted(examined.items()):
        way = next(arm for arm in arms if arm.name == name)
        good = np.array(one["good"])
        low, high = interval(good[:, None])
        proxy = way.proxy(np.array(one["scores"]), scales).mean()
        told = {"kl": one["kl"], "proxy": float(proxy), "good": float(good.mean()), "low": low[0], "high": high[0]}
        found.append({"way": name, "steps": steps, **told, "tokens": one["tokens"]})
    return found


@click.command()
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes of one thread each.")
@click.option("--limit", default=64, show_default=True, help="Prompts that are answered.")
@click.option("--samples", default=256, show_default=True, help="Answers a prompt; the best of half of them is taken.")
@click.option("--pairs", default=200, show_default=True, help="Prompts that pairs are made of.")
@click.option("--noise", default=0.25, show_default=True, help="Share of the labels that is turned round.")
@click.option("--members", default=5, show_default=True, help="Reward models.")
@click.option("--steps", multiple=True, type=int, help="Steps of GRPO, a policy each.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(
    jobs: int,
    limit: int,
    samples: int,
    pairs: int,
    noise: float,
    members: int,
    steps: tuple[int, ...],
    results: Path,
) -> None:
    """Measure, print, draw and write down."""
    began = perf_counter()
    counts = [2**power for power in range(samples.bit_length()) if 2**power <= samples // 2]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        bench = Bench(pool, jobs, Path(place))
        file, learned = bench.pairs(pairs, noise)
        rewards = bench.rewards(file, members)
        scales = [Scale.read(Path(reward)) for reward in rewards]
        prompts = read_prompts(ROOT / "prompts/evaluation/tiny.jsonl", limit, 1)
        arms = [way for way in ways(members) if way.name != "one model" or way.members == (0,)]
        waiting = bench.policies(arms, rewards, prompts, steps, 4)
        texts = bench.answers(prompts, samples)
        kept = min(map(len, texts))
        texts = [some[:kept] for some in texts]  # as many of each, those that were cut left out
        counts = [count for count in counts if count <= kept]
        scores = bench.scores(rewards, prompts, texts)
        good = [
            np.array([is_good(prompt, text) for text in some], float)
            for prompt, some in zip(prompts, texts, strict=True)
        ]
        drawn = curves(scores, good, scales, counts)
        examined = {name: one.result() for name, one in waiting.items()}
    settings = {"limit": limit, "samples": kept, "noise": noise, "members": members, "jobs": jobs, "pairs": learned}
    result = {
        **taken(("cai", "torch", "transformers", "trl")),
        "settings": settings,
        "any_good": float(np.mean([worth.any() for worth in good])),
        "best_of_n": drawn,
        "grpo": points(examined, arms, scales),
        "minutes": (perf_counter() - began) / 60,
    }
    results.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    results.with_suffix(".png").write_bytes(draw(result))
    show(Console(width=140), result)


def show(console: Console, result: Mapping[str, Any]) -> None:
    """Print both tables."""
    table = Table("best of n", *(str(count) for count in result["best_of_n"][0]["n"]), box=None)
    for curve in result["best_of_n"]:
        ends = zip(curve["good"], curve["low"], curve["high"], strict=True)
        name = curve["way"] if len(curve["members"]) > 1 else f"model {curve['members'][0]}"
        table.add_row(name, *(f"{100 * g:.0f} [{100 * low:.0f}, {100 * high:.0f}]" for g, low, high in ends))
    console.print(table, f"any good answer: {result['any_good']:.0%}; {result['minutes']:.1f} minutes")
    if result["grpo"]:
        table = Table("GRPO", "steps", "KL, nats", "proxy, deviations", "good, %", "tokens", box=None)
        for point in result["grpo"]:
            good = f"{100 * point['good']:.0f} [{100 * point['low']:.0f}, {100 * point['high']:.0f}]"
            told = (f"{point['kl']:.2f}", f"{point['proxy']:.2f}", good, f"{point['tokens']:.0f}")
            table.add_row(point["way"], str(point["steps"]), *told)
        console.print(table)


def draw(result: Mapping[str, Any]) -> bytes:
    """Return a PNG: oracle and proxy over the root of the distance, the best of n left, GRPO right."""
    colours = {"one model": "#9498a0", "mean": "#4269d0", "mean less 1 deviation": "#3ca951", "worst": "#ff725c"}
    parts = [("best of n", result["best_of_n"])]
    if result["grpo"]:
        by_way = {way: [one for one in result["grpo"] if one["way"] == way] for way in colours}
        keys = ("kl", "good", "proxy", "low", "high")
        runs = [
            {"way": way, **{key: [one[key] for one in sorted(some, key=lambda one: one["kl"])] for key in keys}}
            for way, some in by_way.items()
        ]
        parts.append(("GRPO", runs))
    figure = new_figure(5.2 * len(parts), 6.4)
    for column, (title, told) in enumerate(parts, start=1):
        for row, (measure, label) in enumerate((("good", "good answers (oracle)"), ("proxy", "proxy, deviations"))):
            axes = figure.add_subplot(2, len(parts), row * len(parts) + column)
            axes.set_title(title if row == 0 else "")
            axes.set_xlabel("square root of the KL divergence from the base, nats")
            axes.set_ylabel(label)
            axes.grid(alpha=0.25)
            seen: set[str] = set()
            for curve in told:
                way, roots = curve["way"], np.sqrt(np.maximum(curve["kl"], 0))
                named = {} if way in seen else {"label": way}
                seen.add(way)
                axes.plot(roots, curve[measure], color=colours[way], marker="o", markersize=3, linewidth=1.2, **named)
                if measure == "good" and way != "one model":
                    axes.fill_between(roots, curve["low"], curve["high"], color=colours[way], alpha=0.12, linewidth=0)
            axes.legend(frameon=False)
    return encode(figure, "png")


if __name__ == "__main__":
    main()
