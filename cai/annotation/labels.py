"""What people said, asked by content: whether an answer keeps a principle, which of two is better, how good one is.

No item has to be looked up: keys are made of content, so labels are found for an answer wherever it lies. What several
people said of one thing is combined once: an adjudication decides, then the majority (`cai.annotation.votes`). Shares
are corrected by labels of items that were drawn at random alone; training takes all of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cai.annotation.items import item_key
from cai.annotation.kinds import OVERALL, EditAnswer, RankingAnswer
from cai.annotation.places import AnnotatedPlace, find_place
from cai.annotation.reading import CountingAnnotations, what_counts
from cai.annotation.store import AnnotationStore, StoredAnnotations
from cai.annotation.votes import JointDecision, by_thing, decide, votes_of
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.identity import fingerprint
from cai.core.records import Message, Prompt, Provenance, Row, Trace, Usage
from cai.data.export.people import Labels, PairLabel
from cai.rundir.origin import location

Turns = Sequence[Message]


class AnswerLabels:
    """What people said of a place; the sums are made when they are first asked for."""

    def __init__(self, stored: StoredAnnotations) -> None:
        """Combine what counts."""
        self.remarks = stored.remarks
        self._items = stored.items
        self._said = what_counts(stored)
        self._edits = self._said.by_item("edit")
        self._ranked = self._said.by_item("ranking")
        self._decided: dict[str, Mapping[str, JointDecision]] = {}

    @property
    def said(self) -> CountingAnnotations:
        """All that counts."""
        return self._said

    def __len__(self) -> int:
        return len(self._said.counting)

    @property
    def picked(self) -> int:
        """How many gates and pairs people decided that were chosen for what they are: no share is corrected by them."""
        return sum(not one.at_random for kind in ("adherence", "comparison") for one in self._of(kind).values())

    def breaks(self, messages: Turns, text: str, principle: str) -> bool | None:
        """Tell whether an answer breaks a principle, of items drawn at random; None where people do not say."""
        found = self._of("adherence").get(item_key("gate", messages, [text], principle))
        return None if found is None or not found.at_random or found.value is None else found.value == "breaks"

    def prefers(self, messages: Turns, a: str, b: str) -> bool | None:
        """Tell whether people prefer a to b, of items drawn at random; None where they do not say, or find a tie."""
        found = self._of("comparison").get(item_key("pair", messages, [a, b]))
        if found is None or not found.at_random or found.value not in ("a", "b"):
            return None
        return (found.value == "a") is _is_first(a, b)

    def pair(self, messages: Turns, a: str, b: str, among: Sequence[str] = ()) -> PairLabel | None:
        """Return the soft label of a pair of answers, however it was chosen; None where nobody decided.

        Who ranked these answers `among` others gave a vote too (arXiv 2203.02155, section 3.5).
        """
        found = self._of("comparison").get(item_key("pair", messages, [a, b]))
        first, second = (a, b) if _is_first(a, b) else (b, a)
        votes = Counter() if found is None else Counter(found.votes)
        for ranks in self.rankings(messages, among):
            lead = ranks[second] - ranks[first]
            votes["a" if lead > 0 else "b" if lead < 0 else "tie"] += 1
        settled = found is not None and found.settled
        if not settled and not votes:
            return None
        counts = Counter({str(found.value): 1}) if found is not None and settled and found.value else votes
        probability = (counts["a"] + counts["tie"] / 2) / counts.total()
        return PairLabel(probability if a == first else 1.0 - probability, votes.total(), settled)

    def rankings(self, messages: Turns, texts: Sequence[str]) -> Sequence[Mapping[str, int]]:
        """Return the rank of each of several answers, 1 being the best, by each person, or as it was settled."""
        said = self._ranked.get(item_key("ranking", messages, texts), ())
        chosen = [one for one in said if one.settles][-1:] or said
        ordered = sorted(texts, key=fingerprint)  # as `items.in_order` does
        return [
            dict(zip(ordered, one.answer.ranks, strict=True)) for one in chosen if isinstance(one.answer, RankingAnswer)
        ]

    def thumb(self, messages: Turns, text: str) -> bool | None:
        """Tell whether people found an answer good; None where they do not say, or not of one mind."""
        found = self._of("thumb").get(item_key("answer", messages, [text]))
        return None if found is None or found.value is None else found.value == "up"

    def rating(self, messages: Turns, text: str) -> float | None:
        """Return the mean rating of an answer, 1 to 5 (an adjudication's alone); None without any."""
        found = self._of("rating").get(item_key("answer", messages, [text]))
        if found is None:
            return None
        if found.settled and found.value is not None:
            return float(found.value)
        return sum(int(value) * count for value, count in found.votes.items()) / found.votes.total()

    def edits(self, messages: Turns, text: str) -> tuple[str, ...]:
        """Return what people wrote in the place of an answer, each annotator's last."""
        return tuple(
            annotation.answer.text
            for annotation in self._edits.get(item_key("answer", messages, [text]), ())
            if isinstance(annotation.answer, EditAnswer)
        )

    def rows(self) -> Iterator[Row]:
        """Yield what people spoke of that is in no row (feedback), a row a prompt, its answers as samples."""
        texts: dict[str, dict[str, str | None]] = {}
        prompts: dict[str, Prompt] = {}
        for item in self._items:
            prompts.setdefault(item.prompt_id, Prompt(item.prompt_id, len(prompts), item.messages, item.tags))
            found = texts.setdefault(item.prompt_id, {})
            for answer in item.answers:
                found.setdefault(answer.text, answer.model)
        for name, prompt in prompts.items():
            traces = tuple(
                Trace(sample, 0, text, (), text, truncated=False, model=model)
                for sample, (text, model) in enumerate(texts[name].items())
            )
            yield Row(prompt, traces, (), Usage(), _NOBODYS)

    def _of(self, kind: str) -> Mapping[str, JointDecision]:
        """Return what was decided of each item in a kind, as a whole."""
        if kind not in self._decided:
            votes = [vote for vote in votes_of(self._said, kind, lambda _: OVERALL) if vote.criterion in _WHOLE]
            self._decided[kind] = {thing[0]: decide(found) for thing, found in by_thing(votes).items()}
        return self._decided[kind]


_NOBODYS = Provenance("", "", "", "", "", "", "", 0, 0)
_WHOLE = (OVERALL, "thumb", "rating")


def read_labels(place: AnnotatedPlace) -> AnswerLabels:
    """Return what people said of a place; raises InputError when that cannot be read."""
    return AnswerLabels(AnnotationStore(place).read())


def labels_for_export(directory: Path, labels: Labels) -> AnswerLabels:
    """Return what people said of a run, to be given to its export.

    Raises UsageError when their labels are asked for and there are none, InputError when they cannot be read.
    """
    people = read_labels(find_place(DataSource.parse(str(directory))))
    if labels != "judge" and not len(people):
        raise UsageError(f"--labels {labels} needs people's labels, and nobody annotated {location(directory)} yet")
    return people


def _is_first(a: str, b: str) -> bool:
    """Tell whether a is the item's first answer (`items.in_order`)."""
    return fingerprint(a) <= fingerprint(b)
