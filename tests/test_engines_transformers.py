"""The in-process engine on a random two-layer Llama whose tokenizer and chat template are made here."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models import EngineOptions, open_engine
from cai.models.base import Completion, Request, Sampling, Thinking
from cai.models.local.engine import TransformersEngine, _host_room, limits_of
from cai.models.local.jobs import Limits
from cai.models.local.loading import Loaded, load
from cai.models.spec import ModelSpec
from tests.small_model import small_model

_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_WORDS = "the a dose of tea is safe not for you and call doctor now yes no maybe A B 1 10 Yes No left right".split()  # noqa: SIM905


def _tokenizer() -> transformers.PreTrainedTokenizerFast:
    special = ["<user>", "<assistant>", "<system>", "<end>"]
    pieces = special + _WORDS + [f" {word}" for word in _WORDS] + [chr(c) for c in range(32, 127)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="?", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|\S| "), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = _TEMPLATE
    return fast


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    tokenizer = _tokenizer()
    end = tokenizer.eos_token_id
    directory = tmp_path_factory.mktemp("random") / "llama"
    model = small_model(
        transformers.LlamaConfig,
        len(tokenizer),
        max_position_embeddings=192,
        eos_token_id=[end, end],
        tie_word_embeddings=True,
    )
    model.generation_config.eos_token_id = [end]
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Loaded:
    return load(str(checkpoint), "cpu", "auto")


@pytest.fixture
def opened(loaded: Loaded) -> Iterator[Callable[..., TransformersEngine]]:
    engines: list[TransformersEngine] = []

    def open_one(limits: Limits | None = None) -> TransformersEngine:
        engines.append(TransformersEngine(loaded, None, limits))
        return engines[-1]

    yield open_one
    for engine in engines:
        asyncio.run(engine.close())


def _limits(**changed: Any) -> Limits:
    roomy = Limits(rows=64, cache_tokens=20_000, prefix_tokens=2_000, prefill_tokens=2_000, pass_tokens=32)
    return replace(roomy, **changed)


def _messages(*turns: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple({"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns))  # type: ignore[typeddict-item]


def _request(text: str, seed: int = 0, temperature: float = 1.0, max_tokens: int = 24, top_p: float = 1.0) -> Request:
    return Request(_messages(text), Sampling(temperature, top_p, max_tokens), seed)


def _requests(count: int, temperature: float = 1.0) -> list[Request]:
    return [
        _request(
            " ".join(_WORDS[(i * 7 + j) % len(_WORDS)] for j in range(1 + i % 23)),
            seed=i,
            temperature=temperature,
            max_tokens=3 + (i * 5) % 40,
            top_p=(1.0, 0.7)[i % 2],
        )
        for i in range(count)
    ]


def _run_all(engine: TransformersEngine, requests: Sequence[Request]) -> list[Completion]:
    async def main() -> list[Completion]:
        return list(await asyncio.gather(*(engine.complete(request) for request in requests)))

    return asyncio.run(main())


def _said(completions: Sequence[Completion]) -> list[Completion]:
    """Return the completions without what depends on who came before: how much of the prompt was known."""
    return [replace(completion, cached_tokens=0) for completion in completions]


def _prompt_ids(loaded: Loaded, messages: Sequence[Message]) -> list[int]:
    text = loaded.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return list(loaded.tokenizer.encode(text, add_special_tokens=False))


def _spelling_probability(loaded: Loaded, prompt: list[int], text: str) -> float:
    ids = loaded.tokenizer.encode(text, add_special_tokens=False)
    with torch.inference_mode():
        table = loaded.model(torch.tensor([prompt + ids])).logits[0].float().log_softmax(-1)
    return math.exp(sum(float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(ids)))


def test_greedy_in_a_batch_is_what_generate_gives_alone(
    checkpoint: Path, loaded: Loaded, opened: Callable[..., TransformersEngine]
) -> None:
    plain = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)  # as transformers opens it, nothing replaced
    requests = _requests(40, temperature=0.0)
    for request, completion in zip(requests, _run_all(opened(), requests), strict=True):
        ids = _prompt_ids(loaded, request.messages)
        with torch.inference_mode():
            out = plain.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones((1, len(ids)), dtype=torch.long),
                do_sample=False,
                max_new_tokens=request.sampling.max_tokens,
                pad_token_id=0,
            )[0, len(ids) :]
        assert completion.text == loaded.tokenizer.decode(out, skip_special_tokens=True)
        assert completion.prompt_tokens == len(ids)
        assert completion.completion_tokens == len(out)
        assert completion.finish_reason == ("stop" if int(out[-1]) in loaded.end_tokens else "length")


@pytest.mark.slow
def test_a_request_draws_the_same_alone_and_in_any_requests(opened: Callable[..., TransformersEngine]) -> None:
    requests = _requests(48)
    engine = opened()
    together = _run_all(engine, requests)
    alone = [_run_all(engine, [request])[0] for request in requests]
    squeezed = _run_all(opened(_limits(rows=3, cache_tokens=300, prefill_tokens=64)), requests[::-1])[::-1]
    assert _said(together) == _said(alone) == _said(squeezed)
    assert {completion.finish_reason for completion in together} == {"stop", "length"}
    assert len({completion.text for completion in together}) > 40


def test_a_seed_decides_the_text(opened: Callable[..., TransformersEngine]) -> None:
    first, again, other = _run_all(opened(), [_request("tea", seed=s) for s in (1, 1, 2)])
    assert _said([first]) == _said([again])
    assert first.text != other.text


@pytest.mark.slow
def test_requests_join_a_running_batch_and_leave_it(opened: Callable[..., TransformersEngine]) -> None:
    engine = opened()
    long, *short = [_request("tea", seed=3, temperature=0.0, max_tokens=150), *_requests(30)]

    async def main() -> list[Completion]:
        tasks = [asyncio.create_task(engine.complete(long))]
        for request in short:  # one after the other, while the long one runs
            tasks.append(asyncio.create_task(engine.complete(request)))
            await tasks[-1]
        return list(await asyncio.gather(*tasks))

    staggered = asyncio.run(main())
    assert _said(staggered) == _said([_run_all(engine, [request])[0] for request in [long, *short]])


def test_max_tokens_is_kept_per_request(opened: Callable[..., TransformersEngine]) -> None:
    requests = [_request("dose of tea", seed=i, max_tokens=1 + i) for i in range(12)]
    for request, completion in zip(requests, _run_all(opened(), requests), strict=True):
        assert completion.completion_tokens <= request.sampling.max_tokens
        if completion.finish_reason == "length":
            assert completion.completion_tokens == request.sampling.max_tokens


@pytest.mark.parametrize(
    ("options", "spellings"),
    [
        (("A", "B"), (("A", " A"), ("B", " B"))),
        (("Yes", "No", "maybe"), (("Yes", " Yes", "yes", " yes"), ("No", " No", "no", " no"), ("maybe", " maybe"))),
        (("tea is safe", "tea is not"), (("tea is safe", " tea is safe"), ("tea is not", " tea is not"))),
        (("Yes", "call doctor"), (("Yes", " Yes", "yes", " yes"), ("call doctor", " call doctor"))),
    ],
)
def test_choices_are_what_a_plain_forward_pass_says(
    loaded: Loaded,
    opened: Callable[..., TransformersEngine],
    options: tuple[str, ...],
    spellings: tuple[tuple[str, ...], ...],
) -> None:
    messages = _messages("is tea safe", "yes", "A or B")
    choice = asyncio.run(opened().choose(Request(messages), options))
    prompt = _prompt_ids(loaded, messages)
    weights = [sum(_spelling_probability(loaded, prompt, text) for text in texts) for texts in spellings]
    assert choice.mass == pytest.approx(sum(weights), rel=1e-4)
    assert choice.probabilities == pytest.approx([w / sum(weights) for w in weights], rel=1e-4)
    assert sum(choice.probabilities) == pytest.approx(1.0)
    assert 0 < choice.mass <= 1
    assert choice.prompt_tokens == len(prompt)


def test_an_option_that_begins_another_is_not_counted_for_both(
    loaded: Loaded, opened: Callable[..., TransformersEngine]
) -> None:
    messages = _messages("say tea")
    choice = asyncio.run(opened().choose(Request(messages), ("tea", "tea is")))
    prompt = _prompt_ids(loaded, messages)
    tea = sum(_spelling_probability(loaded, prompt, text) for text in ("tea", " tea"))
    tea_is = sum(_spelling_probability(loaded, prompt, text) for text in ("tea is", " tea is"))
    assert choice.mass == pytest.approx(tea, rel=1e-4)
    assert choice.probabilities[1] == pytest.approx(tea_is / tea, rel=1e-3)


def test_choices_and_generations_share_the_engine(opened: Callable[..., TransformersEngine]) -> None:
    engine = opened()
    requests = _requests(20)

    async def main() -> tuple[list[Any], list[Any]]:
        choices = [engine.choose(Request(request.messages), ("A", "B")) for request in requests]
        texts = [engine.complete(request) for request in requests]
        mixed = await asyncio.gather(*choices, *texts)
        return list(mixed[:20]), list(mixed[20:])

    choices, texts = asyncio.run(main())
    assert _said(texts) == _said(_run_all(engine, requests))
    for request, choice in zip(requests, choices, strict=True):
        alone = asyncio.run(engine.choose(Request(request.messages), ("A", "B")))
        assert choice.probabilities == pytest.approx(alone.probabilities, rel=1e-4)


def test_options_spelled_alike_are_refused(opened: Callable[..., TransformersEngine]) -> None:
    with pytest.raises(ModelError, match="spelled alike"):
        asyncio.run(opened().choose(Request(_messages("tea")), ("A", " A")))


def test_a_full_context_cuts_the_answer_and_an_overfull_one_is_refused(
    loaded: Loaded, opened: Callable[..., TransformersEngine]
) -> None:
    engine = opened()
    assert engine.context_length == 192
    room = 20
    text = "".join(["tea"] + [" tea"] * (192 - room - 4))
    assert len(_prompt_ids(loaded, _messages(text))) == 192 - room
    fits = [_request(text, seed=i, max_tokens=500) for i in range(8)]
    completions = _run_all(engine, fits)
    assert all(completion.completion_tokens <= room for completion in completions)
    assert any(
        completion.finish_reason == "length" and completion.completion_tokens == room for completion in completions
    )
    for over in (text + " tea" * 5, text + " tea" * 300):
        with pytest.raises(RequestError, match="context") as caught:
            _run_all(engine, [_request(over, max_tokens=500)])
        assert not caught.value.retryable
        if len(over) > 1000:
            with pytest.raises(RequestError, match="context"):
                asyncio.run(engine.choose(Request(_messages(over)), ("A", "B")))
    assert _run_all(engine, [_request(text + " tea" * 12, max_tokens=4)])[0].completion_tokens <= 4


def test_closing_tells_those_who_wait(opened: Callable[..., TransformersEngine]) -> None:
    engine = opened(_limits(rows=2, cache_tokens=400, prefill_tokens=64))

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(engine.complete(request)) for request in _requests(200)]
        await tasks[0]
        await engine.close()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    results = asyncio.run(main())
    assert isinstance(results[0], Completion)
    assert sum(isinstance(result, EngineGoneError) for result in results) > 0
    assert all(isinstance(result, Completion | EngineGoneError) for result in results)
    with pytest.raises(EngineGoneError, match="closed"):
        _run_all(engine, [_request("tea")])


def test_a_cancelled_request_leaves_the_others_alone(opened: Callable[..., TransformersEngine]) -> None:
    engine = opened(_limits(rows=4, cache_tokens=2000, prefill_tokens=64))
    requests = _requests(16)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(engine.complete(request)) for request in requests]
        await tasks[1]
        for task in tasks[2::3]:
            task.cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    results = asyncio.run(main())
    kept = [i for i, result in enumerate(results) if isinstance(result, Completion)]
    assert len(kept) >= 10
    assert _said([results[i] for i in kept]) == _said(_run_all(engine, [requests[i] for i in kept]))


class _Scarce:
    """A model whose forward pass runs out of memory when its batch has more than `most` rows."""

    def __init__(self, model: Any, most: int) -> None:
        self._model, self.most, self.refusals = model, most, 0

    def __call__(self, **inputs: Any) -> Any:
        if len(inputs["input_ids"]) > self.most:
            self.refusals += 1
            raise torch.OutOfMemoryError("out of memory, says the test")
        return self._model(**inputs)


def _with_model(loaded: Loaded, model: Any) -> TransformersEngine:
    return TransformersEngine(
        Loaded(
            loaded.name,
            model,
            loaded.tokenizer,
            loaded.device,
            loaded.context_length,
            loaded.end_tokens,
            loaded.cache_bytes,
        )
    )


def test_running_out_of_memory_halves_the_batch_and_changes_no_text(
    loaded: Loaded, opened: Callable[..., TransformersEngine]
) -> None:
    requests = _requests(24)
    scarce = _Scarce(loaded.model, most=5)
    engine = _with_model(loaded, scarce)
    assert _said(_run_all(engine, requests)) == _said(_run_all(opened(), requests))
    assert scarce.refusals > 0

    async def choices() -> list[Any]:
        return list(
            await asyncio.gather(*(engine.choose(Request(request.messages), ("A", "B")) for request in requests))
        )

    assert len(asyncio.run(choices())) == len(requests)
    scarce.most = 0
    with pytest.raises(RequestError, match="memory") as caught:
        _run_all(engine, requests[:1])
    assert not caught.value.retryable
    asyncio.run(engine.close())


def test_a_broken_model_ends_the_engine_for_everyone(loaded: Loaded) -> None:
    def broken(**_: Any) -> Any:
        raise RuntimeError("device-side assert, says the test")

    engine = _with_model(loaded, broken)

    async def main() -> list[Any]:
        return list(await asyncio.gather(*map(engine.complete, _requests(10)), return_exceptions=True))

    results = asyncio.run(main())
    assert all(isinstance(result, EngineGoneError) and "says the test" in str(result) for result in results)
    asyncio.run(engine.close())


def test_the_name_follows_the_weights(checkpoint: Path, loaded: Loaded) -> None:
    assert loaded.name.startswith(f"transformers:{checkpoint.parent.name}/llama#")
    digits, dtype = loaded.name.partition("#")[2].split(" ")
    assert (len(digits), dtype) == (12, "float32")
    weights = checkpoint / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        assert load(str(checkpoint), "cpu", "auto").name != loaded.name
    finally:
        weights.write_bytes(before)
    assert load(str(checkpoint), "cpu", "float32").name == loaded.name


def test_the_end_of_a_turn_is_what_the_model_or_the_tokenizer_says(checkpoint: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = _tokenizer()
    end = tokenizer.eos_token_id
    for number, (ends, expected) in enumerate(((7, {7, end}), ([7, 8], {7, 8, end}), (end, {end}), (None, {end}))):
        directory = tmp_path / str(number)
        model.config.eos_token_id = model.generation_config.eos_token_id = ends
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        assert load(str(directory), "cpu", "auto").end_tokens == expected


def test_open_engine_opens_a_directory(checkpoint: Path) -> None:
    async def main() -> Completion:
        engine = await open_engine(
            ModelSpec.parse(f"transformers:{checkpoint}"), EngineOptions(device="cpu", concurrency=5)
        )
        assert engine.concurrency == 5
        try:
            return await engine.complete(_request("tea"))
        finally:
            await engine.close()

    assert asyncio.run(main()).prompt_tokens > 0


def test_what_cannot_be_opened_is_said_in_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    no_template = tmp_path / "no_template"
    no_template.mkdir()
    for file in checkpoint.iterdir():
        if file.name != "chat_template.jinja":
            (no_template / file.name).write_bytes(file.read_bytes())
    for model, device, dtype, words in (
        (str(tmp_path / "nowhere"), "cpu", "auto", "no model directory"),
        (str(tmp_path / "bare"), "cpu", "auto", "config.json"),
        (str(no_template), "cpu", "auto", "chat_template.jinja"),
        (str(checkpoint), "toaster", "auto", "toaster"),
        (str(checkpoint), "cpu", "int3", "int3"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            load(model, device, dtype)
        assert "\n" not in str(caught.value)


def test_an_unknown_hub_model_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="nobody/nothing cannot be opened: ") as caught:
        load("nobody/nothing", "cpu", "auto")
    assert "\n" not in str(caught.value)


def test_a_template_that_refuses_fails_the_row_only(opened: Callable[..., TransformersEngine], loaded: Loaded) -> None:
    engine = opened()
    before = loaded.tokenizer.chat_template
    loaded.tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    try:
        with pytest.raises(RequestError, match="no such role"):
            _run_all(engine, [_request("tea")])
    finally:
        loaded.tokenizer.chat_template = before
    assert _run_all(engine, [_request("tea")])[0].prompt_tokens > 0


def test_a_sliding_window_is_respected(checkpoint: Path) -> None:
    tokenizer = _tokenizer()
    model = small_model(transformers.MistralConfig, len(tokenizer), max_position_embeddings=192, sliding_window=8)
    loaded = Loaded("mistral", model, tokenizer, torch.device("cpu"), 192, frozenset(), 1024)
    engine = TransformersEngine(loaded)
    requests = [_request(" ".join(_WORDS[: 3 + 2 * i]), temperature=0.0, max_tokens=30) for i in range(9)]
    for request, completion in zip(requests, _run_all(engine, requests), strict=True):
        ids = _prompt_ids(loaded, request.messages)
        with torch.inference_mode():
            out = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones((1, len(ids)), dtype=torch.long),
                do_sample=False,
                max_new_tokens=30,
                eos_token_id=None,
                pad_token_id=0,
            )[0, len(ids) :]
        assert completion.text == tokenizer.decode(out, skip_special_tokens=True)
    asyncio.run(engine.close())


def test_a_closed_engine_refuses_work_and_may_be_closed_again(opened: Callable[..., TransformersEngine]) -> None:
    engine = opened()

    async def after_closing() -> None:
        await engine.close()
        await engine.close()
        with pytest.raises(EngineGoneError):
            await engine.complete(_request("tea"))

    asyncio.run(after_closing())


def test_the_thread_that_loads_ends_and_takes_its_openmp_threads_with_it(checkpoint: Path) -> None:
    before = set(threading.enumerate())

    async def scenario() -> set[str]:
        engine = await open_engine(ModelSpec.parse(f"transformers:{checkpoint}"), EngineOptions(device="cpu"))
        others = set(threading.enumerate()) - before
        for thread in others:
            thread.join(10)
        left = {thread.name for thread in others if thread.is_alive()}
        await engine.close()
        return left

    assert asyncio.run(scenario()) == set()


@pytest.mark.parametrize(
    ("free", "asked", "room"),
    [
        (None, False, 4 << 30),
        (64 << 30, False, 4 << 30),  # there is more than a cache needs
        (4 << 30, True, 4 << 30),  # a person asked for so many rows
        (4 << 30, False, int((2 << 30) / 1.25)),
        (0, False, 0),
    ],
)
def test_caches_and_model_take_less_than_half_of_the_free_memory(free: int | None, asked: bool, room: int) -> None:
    assert _host_room(0, free, asked=asked) == room
    if free is not None and not asked and free < 8 << 30:
        assert _host_room(1 << 30, free, asked=False) == max(0, int(((free + (1 << 30)) / 2 - (1 << 30)) / 1.25))


def test_fewer_requests_at_once_where_memory_is_short(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(str(checkpoint), "cpu", "float32")
    monkeypatch.setattr("cai.models.local.engine.free_memory", lambda: 3 * 1024 * loaded.cache_bytes * 5 // 2)
    engine = TransformersEngine(loaded)
    assert 1 <= engine.concurrency <= 3
    assert f"{engine.concurrency} requests at once" in engine.describe()
    asyncio.run(engine.close())
    asked = TransformersEngine(loaded, 9)
    assert asked.concurrency == 9
    asyncio.run(asked.close())


def test_what_torch_holds_in_reserve_on_a_gpu_is_room_for_caches_as_what_is_free(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu = replace(loaded, device=torch.device("cuda"))

    def limits(free: int, reserved: int, allocated: int) -> Limits:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free << 30, 80 << 30))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved << 30)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: allocated << 30)
        return limits_of(on_gpu, None)

    before = limits(70, 4, 4)
    assert limits(10, 64, 4) == before
    assert limits(70, 4, 4).cache_tokens > limits(40, 34, 34).cache_tokens


def _thinking(loaded: Loaded) -> Loaded:
    """Return the model under a template that opens a thought."""
    tokenizer = _tokenizer()
    tokenizer.chat_template = _TEMPLATE.replace("<assistant>{%", "<assistant><think>\n{%")
    return replace(loaded, tokenizer=tokenizer)


@pytest.mark.slow
def test_a_thought_is_closed_where_its_budget_ends_and_neighbours_change_nothing(loaded: Loaded) -> None:
    engine = TransformersEngine(_thinking(loaded))
    requests = [
        replace(request, thinking=Thinking("auto", (None, 0, 1, 7)[place % 4]), prefill=("", "the ")[place // 4 % 2])
        for place, request in enumerate(_requests(24))
    ]
    try:
        together = _run_all(engine, requests)
        assert _said(together) == _said([_run_all(engine, [request])[0] for request in requests])
    finally:
        asyncio.run(engine.close())
    for request, completion in zip(requests, together, strict=True):
        if request.thinking.budget is None:  # a random model never closes its thought
            assert completion.text == ""
            assert completion.completion_tokens <= request.sampling.max_tokens
            continue
        closing = len(loaded.tokenizer.encode("\n</think>\n\n", add_special_tokens=False))
        text = completion.completion_tokens - request.thinking.budget
        assert text <= request.sampling.max_tokens + closing
        assert bool(completion.reasoning.strip()) <= (request.thinking.budget > 0)


def test_a_model_that_can_only_think_chooses_behind_its_thought(loaded: Loaded) -> None:
    engine = TransformersEngine(_thinking(loaded))
    request = Request(_messages("A or B"), Sampling(0.7), 3, Thinking("off", 5))
    try:
        choice = asyncio.run(engine.choose(request, ("A", "B")))
        thought = asyncio.run(
            engine.complete(replace(request, sampling=Sampling(0.7, max_tokens=5), thinking=Thinking()))
        )
    finally:
        asyncio.run(engine.close())
    assert choice.reasoning == thought.reasoning != ""
    prompt = loaded.tokenizer.encode(
        "<user>A or B<end><assistant><think>\n" + thought.reasoning + "\n</think>\n\n", add_special_tokens=False
    )
    with torch.inference_mode():
        last = loaded.model(torch.tensor([prompt])).logits[0, -1].float().softmax(-1)
    letters = [sum(float(last[id_]) for id_ in loaded.tokenizer.encode(f"{letter} {letter}")) for letter in "AB"]
    assert choice.probabilities == pytest.approx([letter / sum(letters) for letter in letters], rel=0.05)
    assert choice.completion_tokens > 6


def test_a_text_ends_before_a_stop_and_neighbours_go_on(opened: Callable[..., TransformersEngine]) -> None:
    engine = opened()
    whole = _run_all(engine, _requests(24))
    stops = [completion.text[len(completion.text) // 2 :][:3] for completion in whole]
    requests = [
        replace(request, sampling=replace(request.sampling, stop=(stop,) if stop and place % 2 else ()))
        for place, (request, stop) in enumerate(zip(_requests(24), stops, strict=True))
    ]
    for request, completion, before in zip(requests, _run_all(engine, requests), whole, strict=True):
        if not request.sampling.stop:
            assert _said([completion]) == _said([before])
            continue
        assert completion.text == before.text.partition(request.sampling.stop[0])[0]
        assert completion.finish_reason == "stop"
        assert completion.completion_tokens <= before.completion_tokens


def test_a_repetition_penalty_is_for_the_prompt_too(opened: Callable[..., TransformersEngine]) -> None:
    plain = [replace(request, sampling=Sampling(0.0, max_tokens=30)) for request in _requests(8)]
    strict = [replace(one, sampling=replace(one.sampling, repetition_penalty=50.0)) for one in plain]
    before, after = _run_all(opened(), plain), _run_all(opened(), [*strict, *plain])
    assert _said(after[8:]) == _said(before)
    for request, completion in zip(strict, after, strict=False):
        words = completion.text.split()
        assert len(set(words)) >= len(words) - 2
        asked = request.messages[0]["content"].split()
        assert len(set(words) & set(asked)) <= len(words) // 2
