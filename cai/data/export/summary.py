"""What an export is asked for and what it gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cai.core.corrected import CorrectedShare
from cai.core.counts import counted
from cai.core.errors import UsageError
from cai.core.shares import is_enough
from cai.data.export.hub import Pushed
from cai.data.export.people import Labels, People
from cai.data.export.standings import Standings
from cai.data.quality import DEFAULT_QUALITY, Quality
from cai.method.ranking import Triples
from cai.method.selectors import SelectorName


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`all_revisions`: SFT examples of every round, not only the last; `test_share`: of the prompts, in [0, 1).

    `reasoning`: answers have what the model thought before them, in the field `thinking`. `pairs`: all that a judge
    decided, or of each prompt's ranking the best against the worst, or each against the next. `quality`: what filters
    do about what they find. `select`: what chooses one SFT answer of each prompt; `final`: nothing does, all final
    texts are exported; None: as the run was made. `labels`: whose labels, the judge's, people's, or people's where
    there are some and the judge's elsewhere; `people` is what they said, which corrects shares in any case.
    """

    all_revisions: bool = False
    test_share: float = 0.05
    reasoning: bool = False
    pairs: Literal["all", "best-worst", "adjacent"] = "all"
    quality: Quality = DEFAULT_QUALITY
    select: SelectorName | Literal["final"] | None = None
    labels: Labels = "judge"
    people: People | None = None

    @property
    def selector(self) -> SelectorName | None:
        """What chooses, None where all final texts, or all revisions, are exported."""
        return None if self.select == "final" else self.select

    def __post_init__(self) -> None:
        if self.all_revisions and self.selector is not None:
            raise UsageError(
                f"--select {self.select} chooses one answer a prompt, and --all-revisions takes all: keep one"
            )
        if self.labels != "judge":
            if self.people is None:
                raise UsageError(f"labels of {self.labels} need what people said, and nothing was read")
            if self.pairs != "all" or self.selector is not None:
                taken = f"--pairs {self.pairs}" if self.pairs != "all" else f"--select {self.select}"
                raise UsageError(f"{taken} goes by the judge's word: leave it out with --labels {self.labels}")
        if not 0.0 <= self.test_share < 1.0:
            raise UsageError(f"the test share is {self.test_share}, but must be at least 0 and less than 1.")


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """How many examples each split of a dataset has, and how many were left out, by reason.

    `cleaned` and `reported` count what quality filters cleaned and what they only list, by filter; the ledger has all.
    `not_held`: of how many of them the format could not hold something that they have, by what that is.
    """

    train: int
    test: int
    left_out: Mapping[str, int]
    cleaned: Mapping[str, int] = field(default_factory=dict)
    reported: Mapping[str, int] = field(default_factory=dict)
    not_held: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many examples there are in both."""
        return self.train + self.test


NOTHING = SplitCounts(0, 0, {})


@dataclass(frozen=True, slots=True)
class Selected:
    """How the SFT answers were chosen: `by` what, how many of them are responses and how many revisions.

    `score` is the mean of what the chosen have of the selector, `all_scores` that of all answers that it scored; None
    where there is none.
    """

    by: SelectorName
    responses: int
    revisions: int
    score: float | None
    all_scores: float | None

    @property
    def told(self) -> str:
        """All of it, in one line for a person."""
        scores = "" if self.score is None else f"; mean score {self.score:.3f}"
        scores += "" if self.all_scores is None else f", of all answers {self.all_scores:.3f}"
        return (
            f"one answer a prompt, selected by {self.by}: {counted(self.responses, 'response')}, "
            f"{counted(self.revisions, 'revision')}{scores}"
        )


@dataclass(frozen=True, slots=True)
class Adherence:
    """The mean probability that a principle was kept, over so many gates; None where all were left unanswered.

    `corrected` is the share of these in which it truly was, by people's labels; None: nobody labelled any.
    """

    mean: float | None
    gates: int
    unanswered: int = 0
    corrected: CorrectedShare | None = None

    @property
    def told(self) -> str:
        """The share with its counts; where answers are few the counts alone."""
        if self.mean is None or not is_enough(self.gates, self.gates + self.unanswered):
            return f"{self.gates:,} of {self.gates + self.unanswered:,} answered"
        return f"{self.mean:.0%} of {self.gates:,}" + (f", {self.unanswered:,} unanswered" if self.unanswered else "")


@dataclass(frozen=True, slots=True)
class TextCounts:
    """How many texts of a kind rows hold, and how many of them the token limit cut."""

    count: int
    cut: int


@dataclass(frozen=True, slots=True)
class LayoutSummary:
    """An export in a format of other tools than TRL: its name, and what each of its folders holds.

    `settings` are the files that tell the tool about the data, and `title` is the tool's name. `without` counts the
    examples of datasets that the format has no form for.
    """

    name: str
    title: str
    parts: Mapping[str, SplitCounts]
    without: Mapping[str, int]
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What an export holds: `rows` read, examples and pairs, verdicts that abstained by reason, failures by stage.

    `failed_parts` are the samples and verdicts that rows lack because they failed, by stage; `lacking` of the rows do.
    `adherence` is what the gates said: for each principle, how likely responses kept it when they came to its round.
    `left_out` are the rows of the run that were not read, by reason (`cai.rundir.left_out`); `remarks` are sentences on
    what an earlier export held and this one does not. `reasoning` are how many thoughts the rows hold, by stage.
    `verdicts` are all, those that abstained too; `texts` count `responses` and `revisions`; `explanations` are
    sentences on few pairs and cut answers, and what would change that. `triples` are those of answers in rankings
    that were compared in all ways, and how many of them are cycles. `standings` are of the models, where several
    answered. `quality` names the filters' settings. `layout` is None where
    the files are TRL's, `pushed` where they lie on the hub.
    """

    rows: int
    sft: SplitCounts
    preference: SplitCounts
    abstentions: Mapping[str, int]
    failures: Mapping[str, int]
    failed_parts: Mapping[str, int]
    lacking: int
    adherence: Mapping[str, Adherence]
    left_out: Mapping[str, int]
    remarks: tuple[str, ...] = ()
    reasoning: Mapping[str, int] = field(default_factory=dict)
    verdicts: int = 0
    texts: Mapping[str, TextCounts] = field(default_factory=dict)
    explanations: tuple[str, ...] = ()
    quality: str = "none"
    ranking: SplitCounts = NOTHING
    labelled: SplitCounts = NOTHING
    scored: SplitCounts = NOTHING
    selected: Selected | None = None
    triples: Triples = Triples()
    standings: Standings = Standings()
    layout: LayoutSummary | None = None
    pushed: Pushed | None = None
