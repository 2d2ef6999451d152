"""The forms of asking: what a model is sent when it is to criticise an answer, and when it is to answer better.

The critique is asked for where the conversation stands, by a user's turn behind the answer. Then:

- `continued`, the paper's way (Constitutional AI, arXiv 2212.08073, section 3.1): behind the critique a user's turn
  asks for a rewritten answer.
- `anew`: the prompt is asked again as it stands; a system turn before it says how to answer, and holds the answer and
  its critique. Asked to rewrite, a weak model says the critique again; asked what the user asked, it answers.

With `few_shot` the constitution's worked chains precede a request, in the form that it has.
"""

from collections.abc import Iterable

from cai.constitution import Constitution, Exemplar, Principle
from cai.core.records import Message
from cai.method.templates import Templates

DEFAULT_FORM = "anew"


class Requests:
    """What is asked about one prompt's answers; `form` is `continued`; any other is `anew`."""

    def __init__(
        self,
        constitution: Constitution,
        templates: Templates,
        form: str,
        prompt: tuple[Message, ...],
        *,
        few_shot: bool,
    ) -> None:
        self._templates = templates
        self._anew = form != "continued"
        self._exemplars = constitution.exemplars if few_shot else ()
        self._principles = {one.id: one for one in constitution.principles} if self._exemplars else {}
        self._opening, self._turns = _split_system(prompt)
        shown = _joined(map(self._chain, self._exemplars)) if self._exemplars else ()
        self._lead = (*self._opening, *shown, *self._turns)

    def critique(self, answer: str, principle: Principle) -> tuple[Message, ...]:
        """Return the request to criticise an answer under a principle."""
        return (*self._lead, _assistant(answer), _user(self._templates.critique(principle)))

    def revision(self, answer: str, critique: str, principle: Principle) -> tuple[Message, ...]:
        """Return the request to answer better, given the critique of an answer."""
        if not self._anew:
            asked = self.critique(answer, principle)
            return (*asked, _assistant(critique), _user(self._templates.revision(principle)))
        told: Message = {"role": "system", "content": self._templates.anew(principle, answer, critique)}
        if self._opening:
            told["content"] = f"{self._opening[-1]['content']}\n\n{told['content']}"
        answered = [turn for item in self._exemplars for turn in (_user(item.prompt), _assistant(item.revision))]
        return (*self._opening[:-1], told, *answered, *self._turns)

    def _chain(self, exemplar: Exemplar) -> tuple[Message, ...]:
        """Return a worked chain as turns; where the revision is asked for anew, it ends with the critique."""
        principle = self._principles[exemplar.principle]
        criticised = (
            _user(exemplar.prompt),
            _assistant(exemplar.response),
            _user(self._templates.critique(principle)),
            _assistant(exemplar.critique),
        )
        if self._anew:
            return criticised
        return (*criticised, _user(self._templates.revision(principle)), _assistant(exemplar.revision))


def _joined(groups: Iterable[tuple[Message, ...]]) -> tuple[Message, ...]:
    return tuple(message for group in groups for message in group)


def _split_system(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Return the leading system turns and the rest; chat templates want the former before everything else."""
    count = next((index for index, message in enumerate(messages) if message["role"] != "system"), 0)
    return messages[:count], messages[count:]


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}
