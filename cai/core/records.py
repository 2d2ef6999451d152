"""What a run produces: one `Row` a prompt, holding its `Trace`s and `Verdict`s.

Plain frozen data with no behaviour but `Comparison.swap` and the adding up of `Usage`, and the way back from plain
dictionaries to rows. Records know nothing of files, engines or constitutions. `arrow.py` holds the Arrow schema that
mirrors them field by field.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

INPUT = "input"
"""The stage of a failure that no model has to do with: a row of the input that is no prompt."""

RESPONSE, GATE, CRITIQUE, REVISION = "response", "gate", "critique", "revision"
REASONING, VERDICT, SCORE = "reasoning", "verdict", "score"
"""The stages at which a row asks a model or a judge."""

RoleName = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One turn, in the shape chat templates, servers and trainers share."""

    role: RoleName
    content: str


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of a rubric: what an answer meets or does not, and the points for it; below zero they are lost."""

    criterion: str
    points: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One input: a conversation that ends with the user's turn.

    `id` is the user's own or derived from the content; `ordinal` is its place in the input, counted from 0. `rubric`
    are the criteria for its answers alone, `references` are answers that are known to be right.
    """

    id: str
    ordinal: int
    messages: tuple[Message, ...]
    tags: tuple[str, ...] = ()
    rubric: tuple[Criterion, ...] = ()
    references: tuple[str, ...] = ()

    @property
    def reference(self) -> str | None:
        """The right answer that a judge is shown: the first of them; None where there is none."""
        return self.references[0] if self.references else None


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of critique and revision under one principle.

    `gate` is the probability, before the round, that the response breaks the principle; `gate_mass` what the two
    answers weighed together. Without a mass the gate was not asked; without a probability it was not answered.
    `critique` and `revision` are None when the gate found nothing to mend. What the model thought before each of the
    three, if it did, is its reasoning.
    """

    principle_id: str
    gate: float | None
    critique: str | None
    revision: str | None
    truncated: bool
    """Whether the revision hit the token limit before the model ended it."""
    gate_mass: float | None = None
    gate_reasoning: str | None = None
    critique_reasoning: str | None = None
    revision_reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """One sampled response and what became of it; `final` is the last revision, or the response itself.

    `reasoning` is what the model thought before the response, None where it did not; `model` the name of the model
    whose response and revisions these are.
    """

    sample: int
    seed: int
    response: str
    rounds: tuple[Round, ...]
    final: str
    truncated: bool
    """Whether the response hit the token limit before the model ended it; of revisions, their rounds tell."""
    reasoning: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one prompt; the sources say where they come from (`response:0`, `final:1`).

    `reference` is an answer that is known to be right, for the judge to judge by.
    """

    messages: tuple[Message, ...]
    a: str
    b: str
    a_source: str
    b_source: str
    reference: str | None = None

    def swap(self) -> "Comparison":
        """Return the same comparison with the answers' places exchanged."""
        return Comparison(self.messages, self.b, self.a, self.b_source, self.a_source, self.reference)


@dataclass(frozen=True, slots=True)
class JurorVote:
    """What one juror says, in the verdict's frame; see `Verdict`. `judge` is its engine's name."""

    judge: str
    first: float | None
    second: float | None
    probability: float | None
    abstained: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of one comparison under one principle.

    The judge sees the pair twice, once with a as the first answer and once with a as the second. `first` and `second`
    are the probabilities that a is better in the one and in the other order (None: not asked), both in a's frame. A
    judge that does not look at places says the same twice; first 0.79 and second 0.35 say that it prefers whatever
    stands first, and their distance, 0.44, by how much. `probability` is their mean, or None when the judge abstained
    for the reason in `abstained`. The masses are what the two letters weighed together before normalising (None: judged
    by parsing text). `rationales` are what the judge wrote or thought before it decided, in its order. `unreadable`
    are the judge's words where no letter could be read from them. `jurors` are those of a jury, in their order: the
    verdict's own numbers are then theirs together.
    """

    a_source: str
    b_source: str
    principle_id: str
    first: float | None
    second: float | None
    first_mass: float | None
    second_mass: float | None
    probability: float | None
    abstained: str | None
    rationales: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    jurors: tuple[JurorVote, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question about an answer came to: how likely it keeps a principle, or meets a criterion.

    `about` is the principle's id, or the criterion's words; `mass` is what the two options weighed together. Without a
    probability the question was not answered, and without a mass it could not be asked.
    """

    about: str
    probability: float | None
    mass: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """What one answer of a row is worth, for choosing among its answers (`cai.method.scoring`).

    `source` says which answer (`response:0`, `revision:0:2`, `final:1`), `by` what scored it (`gates`, `rubric`,
    `reward`), `model` who. `value` is None where nothing could be said; `findings` are the questions that it rests on.
    """

    source: str
    by: str
    model: str
    value: float | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class PartFailure:
    """A part of a row that failed for good while the row lives: a sample, a verdict, a score or an evaluation's gate.

    `part` names it (`sample:1`, `verdict:response:0:response:1:kind`, `score:final:0:kind`, `gate:kind`), `stage` is
    where it stopped, `kind` that of the request's failure (see `errors.RequestError`), `raw` what was said instead.
    `answered` are the stages at which the part's earlier requests had been answered.
    """

    part: str
    stage: str
    kind: str
    cause: str
    raw: str
    answered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests and their tokens; `cached_tokens` are the prompt tokens that the engine served from its prefix cache."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Return both together."""
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, part: "Usage") -> "Usage":
        """Return what is left without a part."""
        return Usage(
            self.requests - part.requests,
            self.prompt_tokens - part.prompt_tokens,
            self.cached_tokens - part.cached_tokens,
            self.completion_tokens - part.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a row comes from: model names and 16-digit fingerprints of everything that shaped it."""

    model: str
    judge: str
    constitution: str
    judge_constitution: str
    templates: str
    judge_templates: str
    inputs: str
    seed: int
    judge_seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """Everything made from one prompt: the unit that is committed, resumed and counted.

    `failed` are the parts that are missing; a failed verdict is also among the verdicts, as an abstention.
    """

    prompt: Prompt
    traces: tuple[Trace, ...]
    verdicts: tuple[Verdict, ...]
    usage: Usage
    provenance: Provenance
    failed: tuple[PartFailure, ...] = ()
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """One prompt that could not be done; `retryable` failures are owed again when the run is resumed."""

    id: str
    ordinal: int
    stage: str
    cause: str
    raw: str
    retryable: bool


def row_from_dict(value: Mapping[str, Any]) -> Row:
    """Return the row that a journal line or a table's row spells out.

    Raises KeyError, TypeError or AttributeError when the value is not the shape of a row.
    """
    return Row(
        read_prompt(value["prompt"]),
        tuple(_trace(item) for item in value["traces"]),
        tuple(read_verdict(item) for item in value["verdicts"]),
        Usage(**value["usage"]),
        Provenance(**value["provenance"]),
        read_part_failures(value["failed"]),
        tuple(map(read_score, value["scores"])),
    )


def read_prompt(value: Mapping[str, Any]) -> Prompt:
    """Return the prompt that a plain dictionary spells out; raises KeyError or TypeError when it is none."""
    rubric = tuple(read_criterion(item) for item in value["rubric"])
    messages, tags, references = (tuple(value[name]) for name in ("messages", "tags", "references"))
    return Prompt(value["id"], value["ordinal"], messages, tags, rubric, references)


def read_criterion(value: Mapping[str, Any]) -> Criterion:
    """Return the criterion that a plain dictionary spells out; raises KeyError or TypeError when it is none."""
    return Criterion(value["criterion"], value["points"], tuple(value["tags"]))


def read_score(value: Mapping[str, Any]) -> Score:
    """Return the score that a plain dictionary spells out; raises KeyError or TypeError when it is none."""
    return Score(**{**value, "findings": tuple(Finding(**item) for item in value["findings"])})


def _trace(value: Mapping[str, Any]) -> Trace:
    return Trace(**{**value, "rounds": tuple(Round(**item) for item in value["rounds"])})


def read_verdict(value: Mapping[str, Any]) -> Verdict:
    """Return the verdict that a plain dictionary spells out; raises KeyError or TypeError when it is none."""
    texts = {name: tuple(value[name]) for name in ("rationales", "unreadable")}
    return Verdict(**{**value, **texts, "jurors": tuple(JurorVote(**item) for item in value["jurors"])})


def read_part_failures(values: Iterable[Mapping[str, Any]]) -> tuple[PartFailure, ...]:
    """Return the failures that plain dictionaries spell out; raises KeyError or TypeError when they are none."""
    return tuple(PartFailure(**{**value, "answered": tuple(value["answered"])}) for value in values)
