"""SFT: the loss falls on the assistant's words alone, or on every token of plain text.

| columns | loss on |
|---|---|
| `prompt`, `completion` | the completion |
| `messages` | every assistant turn, end-of-turn token included, found by the template's generation markers |
| `text` | everything: continued pre-training |

Constitutional AI fine-tunes on revised responses (arXiv 2212.08073, section 3.1) and mixes helpful ones in.
"""

from typing import TYPE_CHECKING

from cai.train.methods.descriptor import TrainingMethod, large, small

if TYPE_CHECKING:
    from transformers import Trainer

    from cai.train.context import Context


def build_sft(context: "Context") -> "Trainer":
    """Return the trainer; raises InputError when truncation leaves no example."""
    from trl import SFTConfig

    from cai.train.trainers.lengths import BucketedSFTTrainer

    examples, fit = context.examples, context.settings.fit
    configuration = SFTConfig(
        **context.arguments,
        max_length=fit.max_length,
        packing=bool(fit.packing),
        eval_packing=False,  # packed, the test split's examples would lose their tasks
        assistant_only_loss="messages" in examples.train.column_names,
    )
    return BucketedSFTTrainer(
        model=context.model,
        args=configuration,
        train_dataset=examples.train,
        eval_dataset=examples.test,
        processing_class=context.tokenizer,
        peft_config=context.adapter,
    )


SFT = TrainingMethod(
    name="sft",
    summary="Supervised fine-tuning on revisions, conversations or plain text.",
    description="supervised fine-tuning",
    data="supervised",
    small=small(5e-4, "measured on the embedded model"),
    large=large(2e-5, "TRL's default; HF alignment-handbook, zephyr-7b"),
    epochs=3.0,
    packs=True,
    by_task=True,
    first_loss=True,
    build=build_sft,
)
