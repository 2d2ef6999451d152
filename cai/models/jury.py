"""A jury: several models that judge together, typed one after the other with commas (`--judge tiny,openai:m@http://…`).

To whoever asks for a choice alone, as a gate does, a jury is one engine that says what its jurors say on average. A
judge (`cai.method.judge`) asks each of the `jurors`, and keeps what each said.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from cai.core.errors import ModelError
from cai.models.backends import (
    MORE_SAMPLING,
    Backend,
    EngineOptions,
    SpecParts,
    backend_kinds,
    open_counter,
    open_engine,
)
from cai.models.base import Choice, Completion, Engine, Request
from cai.models.spec import LabelledModel, ModelSpec, apart_from_label
from cai.models.tokens import TokenCounter


class JuryEngine:
    """Engines that are asked side by side; what they answer together costs what all their answers cost."""

    def __init__(self, jurors: Sequence[Engine]) -> None:
        """Take the engines; raises ModelError where two have one name: nobody could tell who said what."""
        names = [engine.name for engine in jurors]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ModelError(f"two jurors are both called {name}; give each model once")
        self.jurors = tuple(jurors)
        self.name = " and ".join(names)
        self.concurrency = max(engine.concurrency for engine in jurors)
        lengths = [engine.context_length for engine in jurors if engine.context_length is not None]
        self.context_length = min(lengths, default=None)

    async def complete(self, request: Request) -> Completion:
        """Answer as the first juror does: texts have no average."""
        return await self.jurors[0].complete(request)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Return what the jurors say on average, each counting alike."""
        said = await asyncio.gather(*(engine.choose(request, options) for engine in self.jurors))
        return Choice(
            probabilities=tuple(fmean(values) for values in zip(*(one.probabilities for one in said), strict=True)),
            mass=fmean(one.mass for one in said),
            prompt_tokens=sum(one.prompt_tokens for one in said),
            cached_tokens=sum(one.cached_tokens for one in said),
            completion_tokens=sum(one.completion_tokens for one in said),
            reasoning="\n\n".join(one.reasoning for one in said if one.reasoning),
        )

    async def close(self) -> None:
        """Close every juror."""
        for engine in self.jurors:
            await engine.close()


class JurySpec(ModelSpec):
    """Several models as they were named; `members` are they."""

    __slots__ = ("members",)

    def __init__(self, members: Sequence[ModelSpec]) -> None:
        """Take the models; raises ModelError where one is there twice."""
        for place, member in enumerate(members):
            if member in members[:place]:
                raise ModelError(f"{member} is twice in a jury; give each model once")
        backends = [member.backend for member in members]
        backend = replace(
            _JURY,
            engine_options=any(one.engine_options for one in backends),
            template_options=any(one.template_options for one in backends),
        )
        parts = SpecParts("+".join(member.model or member.kind for member in members))
        super().__init__(",".join(member.reveal() for member in members), backend, parts)
        self._shown = ",".join(map(str, members))
        self.members = tuple(members)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle and copy carry the members, each as far as it may be shown: `parse` knows one model alone."""
        return JurySpec, (self.members,)


async def _open(spec: ModelSpec, options: EngineOptions) -> Engine:
    opened: list[Engine] = []
    try:
        for member in members_of(spec):
            opened += [await open_engine(member, options)]
        return JuryEngine(opened)
    except BaseException:
        for engine in opened:
            await engine.close()
        raise


def _count_tokens(spec: ModelSpec, options: EngineOptions) -> TokenCounter:
    """Return the counter of the first member, which stands for the others in an estimate."""
    return open_counter(members_of(spec)[0], options)


_JURY = Backend("jury", "several models with commas", _open, _count_tokens, sampling=frozenset(MORE_SAMPLING))


def parse_judge(typed: str) -> ModelSpec:
    """Return the model that judges, or the jury, where models follow each other with commas; raises ModelError."""
    kinds = "|".join(map(re.escape, backend_kinds()))
    names = re.split(rf",\s*(?=(?:{kinds})(?:[:?,]|$))", typed)
    return ModelSpec.parse(typed) if len(names) == 1 else JurySpec([ModelSpec.parse(name) for name in names])


def parse_labelled_judge(typed: str) -> LabelledModel:
    """Return the same with the name that it has in tables, if it was given one: `NAME=MODEL[,MODEL…]`."""
    label, rest = apart_from_label(typed)
    return LabelledModel(label, parse_judge(rest))


def members_of(spec: ModelSpec) -> tuple[ModelSpec, ...]:
    """Return the models of a jury, or the one model."""
    return spec.members if isinstance(spec, JurySpec) else (spec,)
