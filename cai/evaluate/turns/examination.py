"""The examination of attacks over several turns, and what is settled about it before any model is open."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cai.constitution import Constitution
from cai.core.counts import counted
from cai.core.errors import UsageError
from cai.core.identity import fingerprint
from cai.core.records import Prompt
from cai.evaluate.examining import Conclusion, Examination, Found, Opened
from cai.evaluate.turns.authors import ATTACKER, AttackerAuthor, Author, ScriptAuthor, drawn_script
from cai.evaluate.turns.driving import Driving
from cai.evaluate.turns.measuring import conclude_turns, measures_of_turns
from cai.evaluate.turns.records import Dialogue, read_dialogue
from cai.evaluate.turns.scripts import TURNS, Script, scripts_of
from cai.method.critique import Method
from cai.method.templates import DraftingTemplate
from cai.models.meter import Meter, UsageCounter
from cai.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class TurnsPlan:
    """Dialogues of at most `turns` turns, driven by the scripts, or by an attacker with its template."""

    turns: int
    scripts: tuple[Script, ...]
    attacker: ModelSpec | None = None
    template: DraftingTemplate | None = None

    @property
    def authors(self) -> tuple[str, ...]:
        """Who may drive a dialogue."""
        return tuple(script.name for script in self.scripts) if self.template is None else (ATTACKER,)

    @property
    def identity(self) -> dict[str, str]:
        """What must stay the same while its dialogues are collected."""
        if self.template is None:
            return {"turns": str(self.turns), "scripts": fingerprint([script.turns for script in self.scripts])}
        return {"turns": str(self.turns), ATTACKER: str(self.attacker), "template": self.template.fingerprint}


def plan_turns(
    turns: int | None, attacker: ModelSpec | None, constitution: Constitution, prompts_dir: Path | None
) -> TurnsPlan | None:
    """Return what is asked for over several turns, None where nothing is; raises UsageError."""
    if turns is None:
        if attacker is not None:
            raise UsageError("--attacker needs --turns: how many turns it has to reach its goal")
        return None
    scripts = scripts_of(constitution.language)
    if attacker is not None:
        template = DraftingTemplate.load("attacker", constitution.language, prompts_dir)
        return TurnsPlan(turns, scripts, attacker, template)
    if turns > TURNS:
        raise UsageError(f"--turns {turns}: the scripts have {TURNS} turns; an --attacker may have more")
    return TurnsPlan(turns, scripts)


def examine_turns(plan: TurnsPlan, method: Method, prompts: Sequence[Prompt]) -> Examination[Dialogue]:
    """Return the examination of prompts to which a principle applies."""
    constitution = method.constitution
    judged = tuple(prompt for prompt in prompts if constitution.applicable(prompt.tags))
    others = {} if plan.attacker is None else {ATTACKER: plan.attacker}
    who = "a model that is told the goal" if others else "a fixed script, drawn for each"
    left_out = len(prompts) - len(judged)
    without = f"; {counted(left_out, 'prompt')} without a principle that applies left out" if left_out else ""

    def ask(opened: Opened) -> Driving:
        return Driving(opened, partial(_author, plan, opened), plan.turns)

    def conclude(found: Found[Dialogue], seed: int) -> Conclusion:
        return conclude_turns(found, plan.turns, plan.authors, constitution.principles, seed)

    return Examination(
        name="attacker" if others else "turns",
        title=f"over {counted(plan.turns, 'turn')}",
        about=f"each prompt as the goal of {counted(plan.turns, 'turn')} at most, driven by {who}{without}",
        items=judged,
        measures=measures_of_turns(plan.turns),
        ask=ask,
        read=read_dialogue,
        identity=plan.identity,
        others=others,
        conclude=conclude,
    )


def _author(plan: TurnsPlan, opened: Opened, prompt: Prompt, counter: UsageCounter) -> Author:
    """Return who drives a prompt's dialogue with an open model."""
    method = opened.method
    if plan.template is None:
        return ScriptAuthor(drawn_script(plan.scripts, prompt, method.seed))
    engine = Meter(opened.others[ATTACKER], counter, opened.tally)
    return AttackerAuthor(engine, plan.template, plan.turns, method.sampling, method.thinking.response, method.seed)
