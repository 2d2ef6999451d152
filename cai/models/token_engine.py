"""What engines that see a model's tokens do alike: thoughts, prefilled answers and choices.

An engine draws tokens and weighs paths of tokens; here a request becomes such steps. A turn is drawn in one go, unless
something has to be put into it: where a thought has a budget of its own, or the answer is begun for the model, or ends
before a text, the thought is drawn first, closed, and then the answer. So is a choice of a model that thinks.

Whether a model begins with a thought is seen in its prompt, or else once in its weights: in how likely the opening tag
is behind a plain question. A model that thinks though its template turned that off gets an empty thought; one whose
template cannot turn it off thinks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cai.core.identity import derive_seed
from cai.models.base import Choice, Completion, Request, Sampling, ThinkingMode
from cai.models.conversation import NOTHING, Begun, ChatTokenizer
from cai.models.scoring import Spelling, weigh
from cai.models.spelling import Spellings
from cai.models.streaming import Heard
from cai.models.template_thinking import QUESTION
from cai.models.thinking import Tags, split

_USUAL = 0.5  # of the first token's probability: from there on a model begins with a thought by itself
_NOTICED = 0.01  # of it: from there on it is worth another look how a dressed option goes on


@dataclass(frozen=True, slots=True)
class Drawing:
    """Tokens to draw behind `prompt`, `limit` at most, up to the first of the texts `until` (empty: none)."""

    prompt: list[int]
    limit: int
    sampling: Sampling
    seed: int
    until: tuple[str, ...] = ()
    heard: Callable[[list[int]], None] | None = None
    """Is given the tokens that there are so far, on the event loop, by an engine that can."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn, an end token left out of `tokens` and counted by `count`.

    `ended` says whether one came, `cached` how many of the prompt's tokens were not computed.
    """

    tokens: list[int]
    ended: bool
    count: int
    cached: int


@dataclass(frozen=True, slots=True)
class _Manner:
    """How prompts of a mode end: in an open thought, or not; `own` are tags that the model then opens by itself."""

    opened: Tags | None = None
    own: Tags | None = None
    behind: Begun = NOTHING

    @property
    def tags(self) -> Tags | None:
        """Those of the thought that the model begins with."""
        return self.opened or self.own


@dataclass(frozen=True, slots=True)
class _Thought:
    """A thought that was drawn: `prompt` ends behind its closing tag, unless it was not `closed`."""

    prompt: list[int]
    reasoning: str
    closed: bool
    ended: bool
    count: int
    prompt_tokens: int
    cached: int


class TokenEngine(ABC):
    """An engine around one `ChatTokenizer`."""

    def __init__(self, chat: ChatTokenizer) -> None:
        self._chat = chat
        self._manners: dict[ThinkingMode, _Manner] = {}

    @abstractmethod
    async def _draw(self, drawing: Drawing) -> Drawn:
        """Draw tokens."""

    @abstractmethod
    async def _score(self, prompt: list[int], spellings: Sequence[Spelling]) -> tuple[dict[Spelling, float], int]:
        """Return the probability of each path of tokens behind the prompt, and the prompt's tokens that were cached."""

    async def thinks(self, mode: ThinkingMode) -> bool:
        """Return whether the model begins with a thought in this mode."""
        return (await self._manner(mode)).tags is not None

    async def complete(self, request: Request) -> Completion:
        """Return the assistant's next turn; `max_tokens` is cut to what the context still holds."""
        return await self._complete(request)

    async def _complete(self, request: Request, heard: Heard | None = None) -> Completion:
        """Do as `complete`; `heard` is given the text so far where the engine gives the tokens so far."""
        mode, budget = request.thinking.mode, request.thinking.budget
        apart = budget is not None or request.prefill or request.sampling.stop
        if not apart and self._chat.opened(mode) is None and mode != "off":
            # Whether it begins with a thought, the turn will show.
            return await self._in_one_go(request, NOTHING, heard)
        manner = await self._manner(mode)
        if manner.tags is not None and apart:
            return await self._in_two(request, manner, heard)
        return await self._in_one_go(request, manner.behind, heard, opened=manner.opened is not None)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        """Return how likely each whole option is, options of several tokens included."""
        mode = request.thinking.mode
        manner = await self._manner(mode)
        if manner.tags is None:
            behind = replace(manner.behind, words=request.prefill)
            spelled = self._chat.spell(options, mode, behind)
            return await self._weigh(self._chat.encode_prompt(request.messages, mode, behind), spelled)
        opening = "" if manner.opened else manner.tags.opening
        spelled = self._chat.spell(options, mode, Begun(f"{opening}?{manner.tags.closing}", request.prefill))
        budget = request.sampling.max_tokens if request.thinking.budget is None else request.thinking.budget
        thought = await self._think(request, manner, budget, spelled.longest, always=True, complete=True)
        choice = await self._weigh(thought.prompt, spelled)
        return replace(
            choice,
            prompt_tokens=thought.prompt_tokens,
            cached_tokens=thought.cached,
            completion_tokens=thought.count + choice.completion_tokens,
            reasoning=thought.reasoning,
        )

    async def _in_one_go(
        self, request: Request, behind: Begun, heard: Heard | None, *, opened: bool = False
    ) -> Completion:
        sampling = request.sampling
        words = replace(behind, words=request.prefill)
        prompt = self._chat.encode_prompt(request.messages, request.thinking.mode, words)
        limit = self._chat.room(len(prompt), sampling.max_tokens)

        def read(tokens: list[int]) -> tuple[str, str]:
            if request.prefill:
                return "", self._chat.decode(tokens)
            return self._chat.read(tokens, opened=opened)[:2]

        hears = None if heard is None else lambda tokens: heard(_cut(read(tokens)[1], sampling.stop))
        drawn = await self._draw(Drawing(prompt, limit, sampling, request.seed, sampling.stop, hears))
        reasoning, said = read(drawn.tokens)
        text = _cut(said, sampling.stop)
        ended = drawn.ended or text is not said
        return Completion(
            text, "stop" if ended else "length", len(prompt), drawn.cached, drawn.count, reasoning=reasoning
        )

    async def _in_two(self, request: Request, manner: _Manner, heard: Heard | None) -> Completion:
        sampling, budget = request.sampling, request.thinking.budget
        limit = sampling.max_tokens if budget is None else budget
        thought = await self._think(
            request,
            manner,
            limit,
            sampling.max_tokens,
            always=budget is not None,
            complete=bool(request.prefill),
        )
        left = sampling.max_tokens - (thought.count if budget is None else 0)
        if not thought.closed or left < 1:
            return Completion(
                "",
                "stop" if thought.ended else "length",
                thought.prompt_tokens,
                thought.cached,
                thought.count,
                thought.reasoning,
            )
        seed = derive_seed(request.seed, "text")
        limit = self._chat.room(len(thought.prompt), left, least=1)

        def read(tokens: list[int]) -> tuple[str, str]:
            if request.prefill:
                return "", self._chat.decode(tokens)
            more, said, _ = self._chat.read(tokens)
            return more, said.lstrip()

        hears = None if heard is None else lambda tokens: heard(_cut(read(tokens)[1], sampling.stop))
        drawn = await self._draw(Drawing(thought.prompt, limit, sampling, seed, sampling.stop, hears))
        more, said = read(drawn.tokens)
        text = _cut(said, sampling.stop)
        return Completion(
            text,
            "stop" if drawn.ended or text is not said else "length",
            thought.prompt_tokens,
            thought.cached,
            thought.count + drawn.count,
            "\n\n".join(part for part in (thought.reasoning, more) if part),
        )

    async def _think(
        self, request: Request, manner: _Manner, budget: int, text: int, *, always: bool, complete: bool
    ) -> _Thought:
        """Draw a thought of at most `budget` tokens, so that `text` tokens still fit behind it.

        A thought that does not end is closed by force: `always`, or not at all. Behind one that the model closed, what
        stands before a text is put where it is to be `complete`.
        """
        tags = manner.tags
        assert tags is not None  # noqa: S101  (who calls has seen it)
        opening = Begun("" if manner.opened else tags.opening)
        prompt = self._chat.encode_prompt(request.messages, request.thinking.mode, opening)
        forced = self._chat.encode_behind(Begun(tags.closing, request.prefill))
        if always:
            limit = min(budget, max(0, self._chat.room(len(prompt) + len(forced), budget + text, least=1) - text))
        else:
            limit = self._chat.room(len(prompt), budget)
        sampling = replace(request.sampling, stop=())
        drawn = Drawn([], ended=False, count=0, cached=0)
        if limit:
            drawn = await self._draw(Drawing(prompt, limit, sampling, request.seed, (tags.end,)))
        said = self._chat.decode_tags(drawn.tokens)
        thought, end, after = said.partition(tags.end)
        if end:  # the model closed it, and may have begun with the white space behind it
            space = tags.closing[tags.closing.rindex(tags.end) + len(tags.end) :]
            missing = space.removeprefix(after) if complete else ""
            behind, count = self._chat.encode_behind(Begun(missing, request.prefill)), drawn.count
        elif always:
            closing = tags.closing.lstrip("\n") if said.endswith("\n") else tags.closing
            behind = self._chat.encode_behind(Begun(closing, request.prefill))
            count = drawn.count + len(self._chat.encode_behind(Begun(closing)))
        else:
            behind, count = [], drawn.count
        reasoning = split(thought.removesuffix(tags.closing.strip().removesuffix(tags.end)), opened=True).reasoning
        closed = bool(end) or always
        whole = [*prompt, *drawn.tokens, *behind]
        return _Thought(whole, reasoning, closed, drawn.ended, count, len(prompt), drawn.cached)

    async def _weigh(self, prompt: list[int], spelled: Spellings) -> Choice:
        """Weigh the options; dressed ones only where the model may begin so, which the first look shows."""
        self._chat.room(len(prompt), spelled.longest, least=spelled.longest)
        kept = prompt[: len(prompt) - spelled.back]
        first = [begins for ways in spelled.dressed for begins in ways.values()]
        plain = [path for ways in spelled.plain for path in ways]
        seen, cached = await self._score(kept, list(dict.fromkeys([*plain, *spelled.begun, *first])))
        whole = sum(seen[path] for path in spelled.begun) if spelled.begun else 1.0
        dressed = [
            tuple(path for path, begins in ways.items() if seen[begins] > _NOTICED * whole) for ways in spelled.dressed
        ]
        more = [path for ways in dressed for path in ways]
        if more:
            seen |= (await self._score(kept, more))[0]
        ways = [(*near, *far) for near, far in zip(spelled.plain, dressed, strict=True)]
        return replace(weigh(ways, seen, len(prompt), spelled.begun), cached_tokens=cached)

    async def _manner(self, mode: ThinkingMode) -> _Manner:
        """Return how the model begins its turns in this mode; found out by whoever comes first."""
        if mode not in self._manners:
            self._manners[mode] = await self._find_out(mode)
        return self._manners[mode]

    async def _find_out(self, mode: ThinkingMode) -> _Manner:
        opened, thinking = self._chat.opened(mode), self._chat.thinking
        if opened is not None or thinking.tags is None or self._chat.closed(mode):
            return _Manner(opened)
        tags = thinking.tags
        prompt = self._chat.encode_prompt([QUESTION], mode)
        opening = self._chat.encode_behind(Begun(tags.opening.strip()))
        path = tuple(opening[:-1] or opening)  # the last token may be another where a new line follows
        seen, _ = await self._score(prompt, [path])
        if not seen[path] >= _USUAL:
            return _Manner()
        if mode == "off" and thinking.off:
            return _Manner(behind=Begun(tags.opening + tags.closing))
        return _Manner(own=tags)


def _cut(text: str, stop: Sequence[str]) -> str:
    """Return the text up to the first of the stop texts in it; the very same text where none is."""
    places = [place for place in map(text.find, stop) if place >= 0]
    return text[: min(places)] if places else text
