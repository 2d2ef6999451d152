"""Small contexts for the trainers' tests: a random model, the embedded tokenizer, data with one clear lesson."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from datasets import Dataset

import cai
from cai.core.addresses import DataSource
from cai.core.records import Message
from cai.data.examples.shaping import ExampleKind
from cai.models.spec import ModelSpec
from cai.train.context import Context
from cai.train.data.examples import Examples
from cai.train.hardware import Hardware
from cai.train.methods import find_method
from cai.train.settings import DataSettings, FitSettings, TrainSettings

CHECKPOINT = Path(cai.__file__).parent / "tiny" / "checkpoint"
QUESTIONS = ("Can I rest?", "What helps a cough?", "Is tea fine?", "How long is a nap?")
GOOD, BAD = "Please ask a doctor first.", "Take whatever is there."

_SIZES = {
    "vocab_size": 2048,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Give torch one thread: two wait for each other after every small product, on a busy machine up to fifty-fold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_model(labels: int | None = None, seed: int = 3) -> Any:
    """Return a random model: a language model, or with `labels` a classifier."""
    torch.manual_seed(seed)
    if labels is None:
        return transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**_SIZES))
    config = transformers.LlamaConfig(**_SIZES, num_labels=labels)
    return transformers.AutoModelForSequenceClassification.from_config(config)


def make_context(
    out: Path,
    method: str,
    kind: ExampleKind,
    rows: Sequence[dict[str, Any]],
    *,
    model: Any = None,
    test: Sequence[dict[str, Any]] | None = None,
    own: Any = None,
    adapter: Any = None,
    batch: int = 8,
    max_length: int | None = 128,
    **arguments: Any,
) -> Context:
    """Return a context as `fit` would make it: on the CPU, in float32, without bars and checkpoints."""
    examples = Examples(
        kind,
        Dataset.from_list(list(rows)),
        None if test is None else Dataset.from_list(list(test)),
        (),
        "0" * 16,
        {},
        (),
    )
    settings = TrainSettings(
        method=method,
        model=ModelSpec.checkpoint(str(CHECKPOINT)),
        out=out,
        data=DataSettings((DataSource.parse("rows"),)),
        fit=FitSettings(batch_size=batch, max_length=max_length),
        own=own or find_method(method).own(),
    )
    shared = {
        "output_dir": str(out / "checkpoints"),
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": batch,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_steps": 8,
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "save_strategy": "no",
        "report_to": "none",
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    hardware = Hardware(
        "a test", "cpu", "float32", False, False, batch, 1, 1, max_length=max_length or 256, packing=False
    )
    return Context(settings, model or make_model(), tokenizer, adapter, examples, shared | arguments, hardware)


def user(content: str) -> list[Message]:
    return [{"role": "user", "content": content}]


def assistant(content: str) -> list[Message]:
    return [{"role": "assistant", "content": content}]


def pair(question: str, chosen: str, rejected: str, probability: float = 1.0) -> dict[str, Any]:
    return {
        "prompt": user(question),
        "chosen": assistant(chosen),
        "rejected": assistant(rejected),
        "chosen_probability": probability,
    }


def lesson(*, flipped: bool, probability: float = 1.0) -> list[dict[str, Any]]:
    """Return pairs that prefer GOOD to BAD, or with `flipped` the other way round."""
    chosen, rejected = (BAD, GOOD) if flipped else (GOOD, BAD)
    return [pair(question, chosen, rejected, probability) for question in QUESTIONS * 2]


def liking(context: Context, model: Any) -> float:
    """Return log P(GOOD) - log P(BAD) behind the first question, in nats."""
    prompt = user(QUESTIONS[0])
    start = len(context.tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"])

    def weight(answer: str) -> float:
        ids = torch.tensor([context.tokenizer.apply_chat_template(prompt + assistant(answer))["input_ids"]])
        with torch.no_grad():
            chances = model(input_ids=ids).logits.log_softmax(-1)
        return float(chances[0, :-1].gather(1, ids[0, 1:, None])[start - 1 :].sum())

    return weight(GOOD) - weight(BAD)
