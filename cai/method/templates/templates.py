"""The requests of one language: what is asked, ready to be rendered for a row."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self

from cai.core.identity import fingerprint
from cai.core.records import Message
from cai.core.resources import shipped
from cai.method.templates.compiling import Render, compile_all
from cai.method.templates.fencing import draw_marker, escaper, without_control
from cai.method.templates.reading import REFERENCED, Words, find_folder, read_texts, read_words


class PrincipleTexts(Protocol):
    """The part of a principle that templates see; what is None is left to the template's own words."""

    @property
    def id(self) -> str:
        """The principle's name."""

    @property
    def text(self) -> str:
        """The rule itself."""

    @property
    def critique(self) -> str | None:
        """A question that points a critique, or None."""

    @property
    def revision(self) -> str | None:
        """How to mend a response, or None."""

    @property
    def preference(self) -> str | None:
        """The rule as a judge should read it, or None."""


class Templates:
    """The requests of one language.

    `gate_options` are the answers "breaks the principle" and "keeps it", in this order; `criterion_options` "meets the
    criterion" and "does not"; `judge_options` the names of the first and the second response. `gate_prefill` and the
    like are how the assistant's turn begins before them. `fingerprint` names all texts and words together.
    """

    def __init__(self, language: str, texts: dict[str, str], words: Words, renders: dict[str, Render]) -> None:
        self.language = language
        self.gate_options, self.judge_options = words.answers["gate"], words.answers["judge"]
        self.gate_prefill, self.judge_prefill = words.prefills["gate"], words.prefills["judge"]
        self.criterion_options, self.criterion_prefill = words.answers["criterion"], words.prefills["criterion"]
        self.fingerprint = fingerprint({"language": language, "texts": texts, "words": asdict(words)})
        self._critique = _remember(renders["critique"])
        self._revision = _remember(renders["revision"])
        self._anew = renders["anew"]
        self._gate = _remember(renders["gate"])
        self._criterion = renders["criterion"]
        self._escape = escaper(self.judge_options)
        self._comparing = {kind: renders[kind] for kind in ("judge", "judge_reason", *REFERENCED)}
        self._judge_decide = renders["judge_decide"]()
        self._texts = texts
        self._words = words

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as text: compiled templates cannot be pickled, and another machine may not have the files."""
        return _compiled, (self.language, self._texts, self._words)

    @classmethod
    def load(cls, language: str, directory: Path | None = None) -> Self:
        """Read and check the templates of `language` from `directory`, or the shipped ones.

        Raises TemplateError, with file and line where there is one, when the language or a file is missing or a
        template cannot work.
        """
        root = directory or shipped("prompts", "templates")
        folder = find_folder(root, language)
        words, texts = read_words(folder / "words.yaml"), read_texts(folder)
        return cls(language, texts, words, compile_all(folder, texts, words))

    def critique(self, principle: PrincipleTexts) -> str:
        """Return the request to criticise the last response under `principle`."""
        return self._critique(principle)

    def revision(self, principle: PrincipleTexts) -> str:
        """Return the request, made after a critique, to rewrite the response."""
        return self._revision(principle)

    def anew(self, principle: PrincipleTexts, response: str, critique: str) -> str:
        """Return the system turn under which the prompt is answered anew: better than `response`, given its critique.

        What others wrote cannot hold a control token there.
        """
        return self._anew(principle=principle, response=without_control(response), critique=without_control(critique))

    def gate(self, principle: PrincipleTexts) -> str:
        """Return the question whether the last response breaks `principle`; `gate_options` are its answers."""
        return self._gate(principle)

    def criterion(self, criterion: str) -> str:
        """Return the question whether the last response meets a criterion; `criterion_options` are its answers."""
        return self._criterion(criterion=criterion)

    def judge(
        self,
        principle: PrincipleTexts,
        messages: Sequence[Message],
        first: str,
        second: str,
        reference: str | None = None,
    ) -> str:
        """Return the question which response to `messages` is better; `judge_options` are its answers.

        `reference` is a right answer, to judge by.
        """
        return self._compare("judge", principle, messages, (first, second), reference)

    def judge_reason(
        self,
        principle: PrincipleTexts,
        messages: Sequence[Message],
        first: str,
        second: str,
        reference: str | None = None,
    ) -> str:
        """Return the request to think about both responses before deciding; `reference` as for `judge`."""
        return self._compare("judge_reason", principle, messages, (first, second), reference)

    def judge_decide(self) -> str:
        """Return the question that ends the thinking; `judge_options` are its answers."""
        return self._judge_decide

    def _compare(
        self,
        kind: str,
        principle: PrincipleTexts,
        messages: Sequence[Message],
        responses: tuple[str, str],
        reference: str | None,
    ) -> str:
        """Return a request with both responses, each as `fencing` lets the judge see it, and the reference if any."""
        shown: list[Message] = [{"role": m["role"], "content": self._escape(m["content"])} for m in messages]
        first, second = map(self._escape, responses)
        others: dict[str, str] = {}
        if reference is not None:
            kind, others = f"{kind}_reference", {"reference": self._escape(reference)}
        common = (principle.preference or principle.text, *(message["content"] for message in shown))
        marker = draw_marker((*common, *others.values()), (first, second))
        render = self._comparing[kind]
        return render(principle=principle, messages=shown, first=first, second=second, marker=marker, **others)


def _remember(render: Render) -> Callable[[PrincipleTexts], str]:
    """Return `render` for a principle alone; every row asks for the same few."""
    known: dict[tuple[str | None, ...], str] = {}

    def remembered(principle: PrincipleTexts) -> str:
        key = (principle.id, principle.text, principle.critique, principle.revision, principle.preference)
        text = known.get(key)
        if text is None:
            text = known[key] = render(principle=principle)
        return text

    return remembered


def _compiled(language: str, texts: dict[str, str], words: Words) -> Templates:
    """Return templates whose texts are known to work."""
    return Templates(language, texts, words, compile_all(Path(language), texts, words))
