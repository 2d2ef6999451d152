"""The drafting of tenets before the model is open: the constitution, the requests, and what is in the file already."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.constitution import Constitution, load_constitution
from cai.core.errors import InputError
from cai.core.settings import plain
from cai.data.tenets import Tenets, read_tenets
from cai.method.templates import DraftingTemplate
from cai.models import check_engine_options, check_sampling
from cai.models.base import Sampling, Thinking
from cai.tenets.settings import TenetsSettings

TENETS = 5
"""The most tenets that a principle is split into."""


@dataclass(frozen=True, slots=True)
class TenetsPlan:
    """What is to be drafted; `before` is the file's content and `there` its tenets, where the file is there."""

    settings: TenetsSettings
    constitution: Constitution
    tenets: DraftingTemplate
    scenarios: DraftingTemplate
    sampling: Sampling
    thinking: Thinking
    out: Path
    before: str
    there: Tenets

    def recorded(self) -> dict[str, Any]:
        """Return the settings for readers, without passwords."""
        return {**plain(self.settings), "model": str(self.settings.model), "out": str(self.out)}


def plan_tenets(settings: TenetsSettings) -> TenetsPlan:
    """Read the constitution, the templates and the file, if it is there; raises UsageError."""
    constitution = load_constitution(settings.constitution)
    sampling = settings.sampling.of_texts(settings.max_tokens)
    check_engine_options((settings.model,), settings.engine.engine_option, settings.engine.template_option)
    check_sampling((settings.model,), sampling)
    out = settings.out if settings.out is not None else Path(f"{constitution.name}-tenets.yaml")
    before, there = "", Tenets((), {})
    if out.exists():
        there = read_tenets(out, constitution)
        before = out.read_text(encoding="utf-8-sig")
        if not any(line.startswith("- ") for line in before.splitlines()):
            raise InputError(f"{out}: cannot be added to; write its entries as `- principle: …` at the left margin")
    elif not out.parent.is_dir():
        raise InputError(f"{out}: the directory {out.parent} is not there; make it, or name another place")
    return TenetsPlan(
        settings=settings,
        constitution=constitution,
        tenets=DraftingTemplate.load("tenets", constitution.language, settings.prompts_dir),
        scenarios=DraftingTemplate.load("scenarios", constitution.language, settings.prompts_dir),
        sampling=sampling,
        thinking=settings.thinking.of_stages("off").response,
        out=out,
        before=before,
        there=there,
    )
