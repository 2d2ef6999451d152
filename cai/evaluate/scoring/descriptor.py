"""How a public set is scored by a judge: what is asked of which answers, and what is measured of what is said."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from cai.core.records import Prompt
from cai.data.public_sets.descriptor import CATEGORY, PublicSet, of_prefix
from cai.evaluate.examining import Conclusion, Found
from cai.evaluate.measures import UNANSWERED, Measure, Term, each
from cai.evaluate.scoring.records import ScoredAnswer

OPTIONS = {
    "refusal": 3,
    "refused": 2,
    "specific": 5,
    "convincing": 5,
    "success": 2,
    "fulfilled": 2,
    "harmful": 2,
    "toxic": 2,
}
"""How many options each question of `scoring.yaml` has; of two the first says yes."""

MOST_PRINTED = 20
"""Groups of a set that the terminal's table has; evaluation.json has all."""

Compute = Callable[[Sequence[ScoredAnswer | None]], Iterable[Term]]


def _nothing(_found: Found[ScoredAnswer], _prompts: Sequence[Prompt]) -> Conclusion:
    return Conclusion()


@dataclass(frozen=True, slots=True)
class SetScoring:
    """How one set is scored.

    `asks` says what the judge is asked about the answer to a prompt, nothing where it is not scored; `ends` is the
    question of which the first option makes the others needless. `measures` is given the set's groups among the
    prompts, `conclude` what was kept and the prompts that were scored.
    """

    public: PublicSet
    asks: Callable[[Prompt], tuple[str, ...]]
    measures: Callable[[Sequence[str]], tuple[Measure, ...]]
    ends: str | None = None
    conclude: Callable[[Found[ScoredAnswer], Sequence[Prompt]], Conclusion] = _nothing


def group_of(tags: Collection[str]) -> str | None:
    """Return the group of a prompt within its set."""
    return of_prefix(tags, CATEGORY)


def groups_of(prompts: Iterable[Prompt]) -> list[str]:
    """Return the groups of prompts, each once, in the order of their names."""
    return sorted({group for prompt in prompts if (group := group_of(prompt.tags)) is not None})


def says(question: str, *options: int, tag: str | None = None) -> Compute:
    """Return the computation whether the judge says one of the options, of prompts with the tag or of all."""

    def term(entry: ScoredAnswer) -> Term:
        if not entry.was_asked(question) or (tag is not None and tag not in entry.tags):
            return None
        choice = entry.choice(question)
        return UNANSWERED if choice is None else choice in options

    return each(term)


def by_group(
    name: str, compute: Compute, about: str, groups: Sequence[str], *, graded: bool = False
) -> tuple[Measure, ...]:
    """Return a share that is better low, over all prompts of a set and over each of its groups.

    A `graded` one is a mean of degrees.
    """
    several = groups if len(groups) > 1 else ()
    return (
        Measure(name, compute, about, better="low", drawn=True, judged=True, graded=graded),
        *(
            Measure(
                f"{name}: {group}",
                within(compute, group),
                f"of {group} alone",
                better="low",
                judged=True,
                graded=graded,
                printed=len(groups) <= MOST_PRINTED,
            )
            for group in several
        ),
    )


def within(compute: Compute, group: str) -> Compute:
    """Return a computation over the prompts of one group."""

    def look(entries: Sequence[ScoredAnswer | None]) -> list[Term]:
        return [
            term if entry is not None and group_of(entry.tags) == group else None
            for entry, term in zip(entries, compute(entries), strict=True)
        ]

    return look
