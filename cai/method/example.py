"""A judge's question whose answer is plain, for seeing how a model says the letters of a verdict."""

from cai.constitution import Principle
from cai.core.records import Message
from cai.method.templates import Templates
from cai.models.base import NOT_THINKING, Request

_PRINCIPLE = Principle(id="help", text="The response helps the person, and is kind to them.")
_QUESTION: Message = {"role": "user", "content": "My head hurts. What can I do?"}
_BETTER = "I am sorry. Rest, drink some water, and see a doctor if it does not go away."
_WORSE = "Nobody cares. Go away."


def example_verdict() -> tuple[Request, tuple[str, str]]:
    """Return the question which of two answers is better, the first of which is, and the letters that answer it.

    The request's prefill begins the answer up to the letter.
    """
    templates = Templates.load("en")
    question: Message = {"role": "user", "content": templates.judge(_PRINCIPLE, (_QUESTION,), _BETTER, _WORSE)}
    return Request((question,), thinking=NOT_THINKING, prefill=templates.judge_prefill), templates.judge_options
