"""What PPO holds the policy's likelihood up on meanwhile (PPO-ptx): supervised examples, read beside the prompts.

No prompt that the prompts' own data holds out is among them. What is left out and what there is to say is told with
what is told of the prompts.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from cai.core.addresses import DataSource
from cai.train.data.examples import Examples, load_examples
from cai.train.settings import DataSettings

NAME = "pretraining data"


def load_pretraining(source: DataSource, seed: int, held_out: Collection[int]) -> Examples:
    """Return the examples without those whose prompt is held out; raises as `load_examples` does."""
    return load_examples("supervised", DataSettings((source,), test_share=0.0), seed, held_out=held_out)


def told_together(examples: Examples, pretraining: Examples) -> Examples:
    """Return the prompts with what is to be said of the pre-training data among what is to be said of them."""
    beside = Counter({f"{NAME}: {reason}": count for reason, count in pretraining.left_out.items()})
    remarks = (f"{NAME}: {remark}" for remark in pretraining.remarks)
    return replace(examples, left_out=Counter(examples.left_out) + beside, remarks=(*examples.remarks, *remarks))
