"""What examinations of usefulness have in common: a statement about an answer that the judge affirms or denies."""

from dataclasses import dataclass
from functools import partial

from cai.core.errors import RowError
from cai.core.evidence import part_failure
from cai.core.identity import derive_seed
from cai.core.records import SCORE, Criterion, Finding, Message, PartFailure
from cai.evaluate.examining import Opened
from cai.evaluate.records import Answer
from cai.method.rubric import ask_criterion
from cai.models.asking import Asker
from cai.models.meter import Meter, UsageCounter


def answer_of(opened: Opened, prompt_id: str) -> Answer:
    """Return the model's answer to a prompt of the evaluation; raises RowError where it gave none."""
    found = opened.answers.get(prompt_id)
    if found is None:
        raise RowError("the model has no answer to this prompt", stage="response", retryable=True)
    return found


@dataclass(frozen=True, slots=True)
class Statements:
    """The judge, asked about the answers of one item; `tally` counts the item's tokens, `failed` what failed of it."""

    opened: Opened
    item: str
    tally: UsageCounter
    failed: list[PartFailure]

    async def ask(self, dialogue: tuple[Message, ...], statement: str, name: str) -> Finding:
        """Return how likely the dialogue's last answer is as the statement says, under a name of its own in the item.

        Without a probability the judge did not say. Raises RowError where it may say later, and what else an engine
        raises.
        """
        method = self.opened.method
        choose = partial(Asker(Meter(self.opened.judge, self.tally, self.opened.tally)).choose, SCORE)
        try:
            found = await ask_criterion(
                choose,
                method.templates,
                dialogue,
                Criterion(statement, 1.0),
                thinking=method.thinking.judging,
                sampling=method.sampling,
                seed=derive_seed(method.seed, self.item, SCORE, name),
            )
        except RowError as error:
            if error.retryable:
                raise
            self.failed.append(part_failure(f"{SCORE}:{name}", error))
            return Finding(name, None, None)
        return Finding(name, found.probability, found.mass)
