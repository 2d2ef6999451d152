"""What PPO holds the policy's likelihood up on meanwhile: supervised examples as pieces of tokens, learned whole."""

from typing import TYPE_CHECKING

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.train.data.examples import load_examples
from cai.train.settings import DataSettings

if TYPE_CHECKING:
    from cai.train.context import Context


def pretraining_pieces(context: "Context", source: DataSource) -> list[list[int]]:
    """Return the texts of a file or run as token ids, cut into pieces of the maximal length.

    Conversations are printed by the chat template. Raises InputError when nothing of two tokens or more is there.
    """
    settings = DataSettings((source,), test_share=0.0)
    examples = load_examples("supervised", settings, context.settings.seed).train
    length, tokenizer = context.settings.fit.max_length, context.tokenizer
    assert length is not None  # noqa: S101  (the plan filled it in)
    pieces: list[list[int]] = []
    for row in examples:
        if "text" in row:
            ids = [*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id]
        else:
            turns = row["messages"] if "messages" in row else row["prompt"] + row["completion"]
            ids = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
        known = [token for token in ids if token is not None]
        pieces += [known[start : start + length] for start in range(0, len(known), length)]
    pieces = [piece for piece in pieces if len(piece) > 1]
    if not pieces:
        raise InputError(f"--pretraining-data {source} holds no text to learn from.")
    return pieces
