"""Where a turn ends: the token that a model learns to close its answers with, and that generation has to stop at.

A base model often knows `<|endoftext|>` as its only end and comes with a template that closes turns with `<|im_end|>`.
Trained with it, the model writes `<|im_end|>` after an answer; if nothing stops there it goes on with the user's next
turn. So what was learned is written into the generation configuration that lies beside the trained weights, where
transformers, vLLM and cai's own engine look for it. The tokenizer's end stays: templates print it, and texts end so.
"""

from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase


def end_of_turn(tokenizer: PreTrainedTokenizerBase, after: str) -> int | None:
    """Return the first token of `after`, what a template prints behind an answer, at which generation can stop.

    That is a special or an added token: none else is sure never to be part of what is said.
    """
    sure = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    tokens = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next((token for token in tokens if token in sure), None)


def add_ends(model: Any, ends: tuple[int, ...]) -> None:
    """Let generation by this model stop at these tokens too."""
    config: GenerationConfig = model.generation_config
    known = config.eos_token_id
    listed = known if isinstance(known, list) else [] if known is None else [known]
    config.eos_token_id = [*listed, *(end for end in ends if end not in listed)] or None
