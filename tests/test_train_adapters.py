"""Adapters of every kind: what they begin as, what they learn, how they are saved, opened, folded in and refused."""

import asyncio
import copy
import math
from pathlib import Path
from typing import Any, get_args

import orjson
import peft
import pytest
import torch
import transformers

from cai.core.errors import ModelError, UsageError
from cai.models import EngineOptions, open_engine
from cai.models.base import Request, Sampling
from cai.models.checkpoint.adapters import apply_adapter, merge_adapter
from cai.models.checkpoint.bottleneck import BottleneckConfig
from cai.models.checkpoint.resolve import lora_rank
from cai.models.spec import ModelSpec
from cai.train.adapters import ADAPTERS
from cai.train.adapters.building import adapter_config, adapter_parameters, settle_adapter
from cai.train.adapters.configurations import FEED_FORWARD_OUTPUT, find_layer
from cai.train.methods.dpo import build_dpo
from cai.train.methods.sft import build_sft
from cai.train.padding_free.batches import compute_without_padding
from cai.train.plan import plan_train
from cai.train.settings import AdapterKind, AdapterSettings
from cai.train.trainers.base import BaseTrainer
from tests.train_context import GOOD, QUESTIONS, assistant, lesson, liking, make_context, make_model, one_thread, user  # noqa: F401
from tests.training import curve, make_settings, save_model, train

KINDS = list(ADAPTERS)
KEPT = [each.name for each in ADAPTERS.values() if not each.folds]

pytestmark = pytest.mark.usefixtures("one_thread")


def adapt(kind: AdapterKind, model: Any, **sizes: Any) -> Any:
    """Return PEFT's model of a model and an adapter of this kind that is as it begins."""
    config = adapter_config(AdapterSettings(kind, **sizes), "language", model)
    assert config is not None
    return peft.get_peft_model(model, config)


def disturb(adapted: Any, scale: float = 0.3) -> Any:
    """Let an adapter say something, as if it were trained."""
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight += scale * torch.randn_like(weight)
    return adapted.eval()


def logits(model: Any, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids, **inputs).logits[:, -ids.shape[1] :]
        return found


def test_the_table_has_every_kind_that_settings_name() -> None:
    assert list(get_args(AdapterKind)) == ["none", *KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_begins_as_its_base_is_off_when_disabled_and_opens_as_it_was(kind: Any, tmp_path: Path) -> None:
    base = make_model()
    with torch.device("meta"):
        paper = transformers.AutoModelForCausalLM.from_config(base.config)
    adapted = adapt(kind, copy.deepcopy(base))
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert adapter_parameters(AdapterSettings(kind), "language", paper) == trained
    assert not any("lora" in name or "bottleneck" in name for name, _ in paper.named_modules())

    ids = torch.randint(5, 2000, (3, 20))
    if not ADAPTERS[kind].virtual:
        assert torch.equal(logits(adapted, ids), logits(base, ids))
    disturb(adapted)
    with adapted.disable_adapter():
        assert torch.equal(logits(adapted, ids), logits(base, ids))
    wanted = logits(adapted, ids)
    assert (wanted - logits(base, ids)).abs().max() > 0.05

    adapted.save_pretrained(tmp_path)
    opened = apply_adapter(copy.deepcopy(base), tmp_path)
    assert torch.allclose(logits(opened, ids, use_cache=False), wanted, atol=1e-4)
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    padded = logits(opened, ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0))
    assert torch.allclose(padded[0, 7:], logits(opened, ids[:1, 7:])[0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_an_adapter_learns(kind: Any, tmp_path: Path) -> None:
    rows = [{"prompt": user(question), "completion": assistant(GOOD)} for question in QUESTIONS * 2]
    model = make_model()
    config = adapter_config(AdapterSettings(kind), "language", model)
    trainer: Any = build_sft(
        make_context(tmp_path, "sft", "supervised", rows, model=model, adapter=config, max_steps=3)
    )
    names = [name for name, weight in trainer.model.named_parameters() if weight.requires_grad]
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert names
    assert all((torch.equal(before[name], after[name])) == (name not in names) for name in before)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["ia3", "pfeiffer", "prompt", "prefix"])
def test_flipped_labels_reverse_what_an_adapter_learns_against_its_base(kind: Any, tmp_path: Path) -> None:
    learned = {}
    for flipped in (False, True):
        model = make_model()
        config = adapter_config(AdapterSettings(kind), "language", model)
        context = make_context(
            tmp_path / str(flipped), "dpo", "pairs", lesson(flipped=flipped), model=model, adapter=config,
            learning_rate=5e-2, max_steps=4,
        )  # fmt: skip
        trainer: Any = build_dpo(context)
        row, base = trainer.train_dataset[0], make_model()
        ids = torch.tensor([row["prompt_ids"] + (row["rejected_ids"] if flipped else row["chosen_ids"])])
        start = len(row["prompt_ids"])
        chances = logits(base, ids).log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[start - 1 :].sum()
        # The reference is the base without the adapter, its virtual tokens among them.
        wanted = row["ref_rejected_logps"] if flipped else row["ref_chosen_logps"]
        assert wanted == pytest.approx(float(chances), abs=1e-3)
        before = _liking(context, trainer.model)
        trainer.train()
        learned[flipped] = _liking(context, trainer.model) - before
    assert learned[False] > 0 > learned[True]


def _liking(context: Any, adapted: Any) -> float:
    """Return `liking` of a model whose output may begin with virtual tokens' places."""
    adapted.eval()

    class Cut:
        def __call__(self, input_ids: torch.Tensor) -> Any:
            outputs = adapted(input_ids=input_ids)
            outputs.logits = outputs.logits[:, -input_ids.shape[1] :]
            return outputs

    return liking(context, Cut())


def test_a_bottleneck_is_what_the_paper_says() -> None:
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = torch.nn.Linear(2, 2, bias=False)

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.out(states)
            return found

    adapted: Any = peft.get_peft_model(Block(), BottleneckConfig(width=1, activation="relu", target_modules=["out"]))
    layer = adapted.base_model.model.out
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    with torch.no_grad():
        layer.base_layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        for weight, values in ((down.weight, [[1.0, 2.0]]), (up.weight, [[3.0], [-1.0]])):
            weight.copy_(torch.tensor(values))
        down.bias.fill_(0.5)
        up.bias.copy_(torch.tensor([0.25, 0.0]))
        # h = (1, 2): f(1·1 + 2·2 + 0.5) = 5.5; and h = (-1, -2), of which relu leaves nothing.
        assert adapted(torch.tensor([1.0, 2.0])).tolist() == [1 + 3 * 5.5 + 0.25, 2 - 5.5]
        assert adapted(torch.tensor([-1.0, -2.0])).tolist() == [-0.75, -2.0]
    with pytest.raises(ValueError, match="not linear"):
        adapted.merge_and_unload()
    assert adapted.unload().out is layer.base_layer


def test_houlsby_is_behind_attention_and_feed_forward_and_pfeiffer_behind_the_latter() -> None:
    hidden, width, layers = 32, 5, 2
    one = 2 * hidden * width + hidden + width
    for kind, places in (("houlsby", 2), ("pfeiffer", 1)):
        adapted = adapt(kind, make_model(), bottleneck=width)  # type: ignore[arg-type]
        assert adapted.get_nb_trainable_parameters()[0] == layers * places * one
        behind = {
            name.rpartition(".layers.")[2][2:]
            for name, module in adapted.named_modules()
            if hasattr(module, "activation")
        }
        assert behind == {"mlp.down_proj", *(["self_attn.o_proj"] if places == 2 else [])}


@pytest.mark.parametrize("kind", KEPT)
def test_the_engine_says_what_peft_says_with_adapters_that_stay_beside_the_weights(kind: Any, tmp_path: Path) -> None:
    base = save_model(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted = disturb(adapt(kind, model), 0.5)
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    wanted = []
    for question in QUESTIONS:
        prompt = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        said: list[int] = []
        while len(said) < 12 and (not said or said[-1] != 1):
            said.append(int(logits(adapted, torch.tensor([prompt + said]))[0, -1].argmax()))
        wanted.append(tokenizer.decode([token for token in said if token != 1]))

    async def ask() -> list[str]:
        engine = await open_engine(ModelSpec.parse(f"transformers:{tmp_path / 'adapter'}"), EngineOptions(device="cpu"))
        try:
            asked = [
                Request((user(question)[0],), Sampling(temperature=0.0, max_tokens=12), 0) for question in QUESTIONS
            ]
            together = await asyncio.gather(*map(engine.complete, asked))
            again = [await engine.complete(request) for request in asked]  # behind what the prefix cache has of them
            assert [one.text for one in again] == [one.text for one in together]
            assert engine.context_length == 256 - (16 if ADAPTERS[kind].virtual else 0)
            return [one.text for one in together]
        finally:
            await engine.close()

    assert asyncio.run(ask()) == wanted


@pytest.mark.parametrize("kind", KEPT)
def test_what_cannot_be_folded_is_refused_with_the_way_out(kind: Any, tmp_path: Path) -> None:
    adapt(kind, make_model()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot be folded into its base: open it as it is with transformers:"):
        merge_adapter(make_model(), tmp_path)
    with pytest.raises(ModelError, match="vLLM serves LoRA alone"):
        lora_rank(tmp_path)
    with pytest.raises(UsageError, match=f"defined for lora, dora, ia3: with --adapter {kind} leave it out"):
        settle_adapter(AdapterSettings(kind, merge=True), "language")


@pytest.mark.parametrize("kind", ["pfeiffer", "prompt"])
def test_an_adapter_of_which_something_is_missing_is_refused(kind: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    adapt(kind, make_model()).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    first = next(iter(weights))
    save_file({("strange" if name == first else name): weight for name, weight in weights.items()}, file)
    with pytest.raises(ModelError, match=r"does not fit its base|cannot be opened"):
        apply_adapter(make_model(), tmp_path)


def test_options_of_another_kind_are_refused_and_open_ones_filled_in() -> None:
    for given, says in (
        (
            AdapterSettings("lora", bottleneck=4),
            "--bottleneck is of --adapter houlsby or pfeiffer, and this is --adapter lora",
        ),
        (AdapterSettings("ia3", rank=4), "--rank is of --adapter lora or dora"),
        (AdapterSettings("prompt", rank=4), "--rank is of"),
        (
            AdapterSettings(virtual_tokens=4),
            "--virtual-tokens is of --adapter prompt or prefix, and this is --adapter none",
        ),
    ):
        with pytest.raises(UsageError, match=says):
            settle_adapter(given, "language")
    assert settle_adapter(AdapterSettings("dora"), "language").rank == 16
    assert settle_adapter(AdapterSettings("pfeiffer", bottleneck=3), "language") == AdapterSettings(
        "pfeiffer", bottleneck=3, activation="relu"
    )


def test_a_model_without_the_layers_is_refused_with_the_way_out() -> None:
    config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=32, n_positions=16)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    assert find_layer(model, FEED_FORWARD_OUTPUT, "", "pfeiffer") == "mlp.c_proj"
    with pytest.raises(
        ModelError, match=r"--adapter ia3 is put on keys, and gpt2 has no one layer .* use --adapter lora"
    ):
        adapter_config(AdapterSettings("ia3"), "language", model)
    adapted = adapt("houlsby", model).eval()
    ids = torch.randint(0, 32, (1, 5))
    with adapted.disable_adapter():
        off = logits(adapted, ids)
    assert torch.equal(logits(adapted, ids), off)
    assert not torch.equal(logits(disturb(adapted), ids), off)


def test_the_plan_counts_and_the_identity_holds_the_kind_s_own_options(tmp_path: Path) -> None:
    plan = plan_train(make_settings(tmp_path, adapter=AdapterSettings("houlsby", bottleneck=4), rows=40))
    assert plan.shape.adapter_parameters == 2 * 2 * (2 * 32 * 4 + 32 + 4)
    identity = plan.identity()
    assert (identity["adapter"], identity["bottleneck"], identity["activation"]) == ("houlsby", "4", "relu")
    assert "rank" not in identity
    plan = plan_train(make_settings(tmp_path, adapter=AdapterSettings("prefix", virtual_tokens=200), rows=40))
    assert plan.hardware.max_length <= 256 - 200
    assert not plan.hardware.checkpointing


@pytest.mark.parametrize("kind", ["pfeiffer", "prompt", "prefix"])
@pytest.mark.slow
def test_an_adapter_goes_on_to_the_same_curve(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: dict[str, Any] = {"max_steps": 8, "learning_rate": 1e-2, "rows": 40, "evaluations": 2}
    numbers["adapter"] = AdapterSettings(kind)
    train(make_settings(tmp_path, out="whole", **numbers), lambda _: None)
    step = BaseTrainer.training_step

    def dying(trainer: Any, *positional: Any) -> torch.Tensor:
        assert trainer.state.global_step < 6, "killed"
        return step(trainer, *positional)

    with monkeypatch.context() as patch:
        patch.setattr(BaseTrainer, "training_step", dying)
        with pytest.raises(AssertionError, match="killed"):
            train(make_settings(tmp_path, out="resumed", **numbers), lambda _: None)
    assert train(make_settings(tmp_path, out="resumed", **numbers), lambda _: None).resumed == 4
    assert curve(tmp_path / "resumed") == curve(tmp_path / "whole")
    card = (tmp_path / "whole" / "README.md").read_text()
    assert ("import cai.models.checkpoint.bottleneck" in card) == (kind == "pfeiffer")
    assert orjson.loads((tmp_path / "whole" / "train.json").read_bytes())["adapter"] == kind
    assert math.isfinite(curve(tmp_path / "whole")[-1][1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_is_learned_from_without_its_padding_as_with_it(kind: Any) -> None:
    ids = torch.randint(5, 2000, (3, 20))
    mask = torch.ones_like(ids)
    mask[0, 12:] = mask[1, 17:] = 0
    found = []
    for without in (False, True):
        model = make_model()
        assert not without or compute_without_padding(model, 64)
        adapted = disturb(adapt(kind, model))
        loss = adapted(input_ids=ids, attention_mask=mask, labels=torch.where(mask == 1, ids, -100)).loss
        loss.backward()
        gradients = [weight.grad.flatten() for weight in adapted.parameters() if weight.requires_grad]
        found.append((loss.item(), torch.cat(gradients)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
