"""What trainers learn from, in exactly TRL's columns.

| kind | columns |
|---|---|
| `supervised` | `prompt` + `completion`, or `messages`, or `text` |
| `pairs` | `prompt`, `chosen`, `rejected`, `chosen_probability` |
| `ranked` | `prompt`, `answers` of {completion, rank}, the best first |
| `labelled` | `prompt`, `completion`, `label` |
| `scored` | `prompt`, `completion`, `score` |
| `prompts` | `prompt`, `rubric` of {criterion, points}, `tags` |

`tags` are text. All else but `text`, `label`, `score`, `chosen_probability` and `rubric` are message lists
(`list<struct<role, content>>`); a `completion`, `chosen` or `rejected` is the assistant's turn alone.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from datasets import Dataset, concatenate_datasets

from cai.core.counts import counted
from cai.core.errors import InputError
from cai.core.identity import derive_seed, fingerprint
from cai.data.examples.opening import can_give, open_parts
from cai.data.examples.runs import MadeBy, RunChoices, RunExamples
from cai.data.examples.shaping import ExampleKind
from cai.data.examples.tables import TableExamples, has_splits, open_table
from cai.data.quality import load_quality
from cai.data.shapes.recognising import check_shape
from cai.rundir.checkout import is_run
from cai.train.data.collecting import CERTAINTY, Collected, Marks, collect, distinct
from cai.train.data.mixing import Indices, WeightedSource, choose, mixture_sizes, parse_parts, shuffle
from cai.train.quiet import silent_libraries
from cai.train.settings import DataSettings

LEAKING = "the prompt is in a test split"
HELD_OUT = "held out by the source itself, and no test share asked for"


@dataclass(frozen=True, slots=True)
class ExamplePart:
    """One source of examples: how many it gave to training and testing, with what weight, and what it was.

    Of a run, `model` is who answered there and `judge` who judged; None where nothing says.
    """

    name: str
    weight: float | None
    train: int
    test: int
    fingerprint: str
    model: str | None = None
    judge: str | None = None


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples ready for a trainer, already mixed and in their final order; `test` is None when no share was asked for.

    `test` is None, too, when nothing fell to it. `fingerprint` (16 digits) changes with any part's content, weight or
    option, and not with where a part lies. `left_out` counts by reason. A part's `train` counts repeats. `remarks` are
    lines that a person must see: columns that are not used, encodings. `held_out` are the keys of all prompts that are
    held out, more than `test` has where it is bounded.
    """

    kind: ExampleKind
    train: Dataset
    test: Dataset | None
    parts: tuple[ExamplePart, ...]
    fingerprint: str
    left_out: Mapping[str, int]
    remarks: tuple[str, ...]
    held_out: frozenset[int] = frozenset()


def load_examples(
    kind: ExampleKind,
    settings: DataSettings,
    seed: int,
    also: Collection[str] = (),
    *,
    by_task: bool = False,
    difficulty: str | None = None,
    held_out: Collection[int] = (),
) -> Examples:
    """Read, shape, split and mix what `settings.data` names.

    A prompt that is a test prompt of any part, or whose key is in `held_out`, is trained on in none. The same content,
    settings and seed give the same examples in the same order on every machine. The test split is all that the parts
    hold out, unweighted. `limit` counts training examples after mixing, and the test split holds no more than that,
    drawn from the seed. What the source has in the columns of `also` stands beside the examples, and what `Marks` say:
    the part with `by_task`, and how hard an example is with `difficulty`. Raises InputError or RunError, in one
    sentence, when something cannot be read, has other columns than the kind needs, or leaves nothing to learn from.
    """
    named = parse_parts(settings)
    left_out: Counter[str] = Counter()
    with silent_libraries():
        sources = _open(kind, named, settings)
        marks = [Marks(number, difficulty) if by_task else None for number in range(len(sources))]
        parts = [_collect(*each, settings, left_out, also) for each in zip(sources, marks, strict=True)]
        sides = [_sides(source, part, left_out) for source, part in zip(sources, parts, strict=True)]
        own = [part.prompts[test] for part, (_, test) in zip(parts, sides, strict=True)]
        avoided = np.unique(np.concatenate([np.fromiter(held_out, np.uint64), *own]))
        train = [
            _without(part, available, avoided, left_out) for part, (available, _) in zip(parts, sides, strict=True)
        ]
        order, given = _mix(train, parts, named, settings, seed)
        if not len(order):
            names = ", ".join(str(part.path) for part in named)
            raise InputError(f"Nothing of {names} is left to train on{_why(left_out)}.")
        whole = concatenate_datasets([part.examples for part in parts])
        offsets = _offsets(parts)
        tests = [test + offset for (_, test), offset in zip(sides, offsets, strict=True)]
        if not settings.test_share:
            left_out[HELD_OUT] += sum(map(len, tests))
            tests = [test[:0] for test in tests]
        tests = _bounded(tests, settings.limit, seed)
        test = np.concatenate(tests)
        return Examples(
            kind=kind,
            train=whole.select(order),
            test=whole.select(test) if len(test) else None,
            parts=tuple(
                ExamplePart(str(item.path), item.weight, count, len(own), part.fingerprint, *_made_by(source))
                for item, count, own, part, source in zip(named, given, tests, parts, sources, strict=True)
            ),
            fingerprint=_fingerprint(kind, settings, seed, named, parts),
            left_out={reason: count for reason, count in sorted(left_out.items()) if count},
            remarks=(
                *dict.fromkeys(told for source in sources for told in _remarks(source, also, difficulty)),
                *_tell_thoughts(sum(part.thoughts for part in parts), settings),
            ),
            held_out=frozenset(avoided.tolist()),
        )


def holds_scores(settings: DataSettings) -> bool:
    """Return whether every part is a table of prompts, completions and scores; raises as `load_examples` does."""
    with silent_libraries():
        return all(
            not is_run(part.path)
            and can_give(open_table(part.path, settings.split, "scored", settings.shape), "scored")
            for part in parse_parts(settings)
        )


def _open(
    kind: ExampleKind, named: Sequence[WeightedSource], settings: DataSettings
) -> list[RunExamples | TableExamples]:
    """Open every part, and make one layout of all."""
    if settings.split is not None and not any(has_splits(part.path) for part in named):
        raise InputError("--split is for datasets saved on disk or on the hub, and --data names none.")
    tables = {
        part.path: open_table(part.path, settings.split, kind, settings.shape)
        for part in named
        if not is_run(part.path)
    }
    check_shape(settings.shape, [source for table in tables.values() for source in table.sources])
    quality = load_quality(settings.quality)
    choices = RunChoices(settings.revisions, settings.labels_from, settings.test_share, quality)
    return open_parts([part.path for part in named], kind, tables, choices)


def _remarks(source: RunExamples | TableExamples, also: Collection[str], difficulty: str | None) -> tuple[str, ...]:
    if isinstance(source, RunExamples):
        return source.remarks
    return source.remarks_with(also if difficulty is None else {*also, difficulty})


def _made_by(source: RunExamples | TableExamples) -> MadeBy:
    return source.made_by if isinstance(source, RunExamples) else MadeBy()


def _collect(
    source: RunExamples | TableExamples,
    marks: Marks | None,
    settings: DataSettings,
    left_out: Counter[str],
    also: Collection[str],
) -> Collected:
    reasons: Counter[str] = Counter()
    column = None if marks is None or marks.difficulty == CERTAINTY else marks.difficulty
    if column is not None and isinstance(source, RunExamples):
        raise InputError(f"--curriculum {column}: {source.name} is a run, which has no such column of numbers.")
    collected = collect(
        source.examples(also if column is None else (*also, column)),
        source.layout,
        settings.test_share,
        reasons,
        reasoning=settings.reasoning,
        also=also,
        marks=marks,
    )
    if not len(collected.examples):
        raise InputError(f"{source.name} gives no example{_why(reasons)}.")
    left_out += reasons
    return collected


def _sides(source: RunExamples | TableExamples, part: Collected, left_out: Counter[str]) -> tuple[Indices, Indices]:
    """Return the indices of the part's examples for training and of those that are held out."""
    keep = np.ones(len(part.held_out), np.bool_)
    if source.distinct:
        keep, reasons = distinct(part)
        left_out.update(reasons)
    return np.flatnonzero(keep & ~part.held_out), np.flatnonzero(keep & part.held_out)


def _without(
    part: Collected, available: Indices, held_out: np.ndarray[tuple[int], np.dtype[np.uint64]], left_out: Counter[str]
) -> Indices:
    """Return the training examples whose prompt is no test prompt of any part."""
    leaking = np.isin(part.prompts[available], held_out)
    left_out[LEAKING] += int(leaking.sum())
    return available[~leaking]


def _offsets(parts: Sequence[Collected]) -> list[int]:
    return [0, *np.cumsum([len(part.examples) for part in parts])[:-1].tolist()]


def _bounded(tests: list[Indices], limit: int | None, seed: int) -> list[Indices]:
    """Return the parts' test examples, at most `limit` of them in all."""
    sizes = [len(test) for test in tests]
    if limit is None or sum(sizes) <= limit:
        return tests
    kept = np.zeros(sum(sizes), np.bool_)
    kept[np.random.default_rng(derive_seed(seed, "test")).permutation(sum(sizes))[:limit]] = True
    return [test[part] for test, part in zip(tests, np.split(kept, np.cumsum(sizes)[:-1]), strict=True)]


def _mix(
    train: Sequence[Indices],
    parts: Sequence[Collected],
    named: Sequence[WeightedSource],
    settings: DataSettings,
    seed: int,
) -> tuple[Indices, list[int]]:
    """Return the mixture's order as indices into the parts laid end to end, and how many each part gives to it."""
    weights = [part.weight for part in named if part.weight is not None]
    sizes = mixture_sizes(
        [len(available) for available in train],
        weights or None,
        settings.mixing_temperature,
        [str(part.path) for part in named],
    )
    offsets = _offsets(parts)
    drawn = [
        choose(available, size, derive_seed(seed, "part", number)) + offset
        for number, (available, size, offset) in enumerate(zip(train, sizes, offsets, strict=True))
    ]
    order = shuffle(np.concatenate(drawn), seed)[: settings.limit]
    owners = np.searchsorted(offsets, order, side="right") - 1
    return order, np.bincount(owners, minlength=len(parts)).tolist()


def _fingerprint(
    kind: ExampleKind, settings: DataSettings, seed: int, named: Sequence[WeightedSource], parts: Sequence[Collected]
) -> str:
    """Return what names the examples; paths and the split's name are not among it, content is."""
    unnamed = ("data", "split", *(() if settings.reasoning else ("reasoning",)))
    options = {name: value for name, value in asdict(settings).items() if name not in unnamed}
    options["quality"] = str(load_quality(settings.quality))  # of a file, what it says
    contents = [[part.fingerprint, item.weight] for item, part in zip(named, parts, strict=True)]
    return fingerprint([kind, options, seed, contents])


def _tell_thoughts(thoughts: int, settings: DataSettings) -> list[str]:
    """Return what to say of examples with reasoning; raises InputError where it is asked for and there is none."""
    if settings.reasoning and not thoughts:
        raise InputError("--reasoning learns what was thought before answers, and the data has none; leave it out.")
    if settings.reasoning or not thoughts:
        return []
    return [
        f"what was thought before the answers of {counted(thoughts, 'example')} is not learned from; --reasoning does"
    ]


def _why(reasons: Mapping[str, int]) -> str:
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()) if count)
    return f"; left out: {told}" if told else ""
