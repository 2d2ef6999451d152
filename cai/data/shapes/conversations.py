"""Layouts of conversations: ShareGPT, LLaMA-Factory and Axolotl on its ground, OpenAI's, and pairs told as a whole.

ShareGPT's turns are {from, value}: `human` and `gpt` in most files, with the names of other assistants in some. Where a
row says no more than a conversation, its prompt is all that comes before the assistant's last turn.
"""

import reprlib
from collections.abc import Iterator

from cai.data.rows import BadRowError
from cai.data.shapes.descriptor import Canonical, Row, Shape, items

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model"), "assistant"),
    "system": "system",
    **dict.fromkeys(("observation", "tool", "function_call", "function"), "tool"),
}


def turn(value: object) -> dict[str, object]:
    """Return a turn of {from, value} as {role, content}; one of {role, content} stays as it is."""
    if not isinstance(value, dict):
        raise BadRowError("the conversation has a turn that is no object")
    if "role" in value:
        return value
    role = _ROLES.get(str(value.get("from")).lower())
    if role is None:
        raise BadRowError(f"the conversation has a turn without a known speaker ({reprlib.repr(value.get('from'))})")
    return {"role": role, "content": value.get("value")}


def before_last_answer(messages: object) -> object:
    """Return a conversation up to what its last turn answers, if that is the assistant's."""
    if isinstance(messages, list) and messages and _is_answer(messages[-1]):
        return messages[:-1]
    return messages


def _conversation(row: Row) -> object:
    column = "conversations" if row.get("conversations") is not None else "conversation"
    if row.get("tools") not in (None, "", "[]", []):
        raise BadRowError("the conversation offers tools, and cai keeps conversations of text alone")
    return [turn(value) for value in items(row, column)]


def _messages(row: Row) -> object:
    return row.get("messages")


def _prompt_of_conversation(row: Row) -> object:
    return before_last_answer(_conversation(row))


def _rows_of_conversation(row: Row) -> Iterator[Canonical]:
    yield {"messages": _conversation(row)}


def _rows_of_messages(row: Row) -> Iterator[Canonical]:
    yield {"messages": _messages(row)}


def _compared_conversations(row: Row) -> Iterator[Canonical]:
    yield {"chosen": [turn(row.get("chosen"))], "rejected": [turn(row.get("rejected"))]}


def _labelled(messages: object, label: object) -> Iterator[Canonical]:
    if not (isinstance(messages, list) and messages and _is_answer(messages[-1])):
        raise BadRowError("the conversation does not end with the assistant")
    yield {"completion": messages[-1:], "label": label}


def _answered(row: Row) -> Iterator[Canonical]:
    """Yield what alone is learnt of a conversation that says of each turn whether it is; that must be the last."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages or not _is_answer(messages[-1]):
        raise BadRowError("the conversation does not end with the assistant")
    if [number for number, said in enumerate(messages) if _is_trained(said)] != [len(messages) - 1]:
        raise BadRowError("another turn than the last answer is to be learnt")
    yield {"completion": messages[-1:]}


def _openai_prompt(row: Row) -> object:
    asked = row.get("input")
    return asked.get("messages") if isinstance(asked, dict) else None


def _openai_rows(row: Row) -> Iterator[Canonical]:
    yield {"chosen": row.get("preferred_output"), "rejected": row.get("non_preferred_output")}


def _is_answer(value: object) -> bool:
    return isinstance(value, dict) and value.get("role") == "assistant"


def _is_object(row: Row) -> bool:
    return isinstance(row.get("chosen"), dict)


def _is_trained(value: object) -> bool:
    return isinstance(value, dict) and value.get("training") is True


def _says_what_is_trained(row: Row) -> bool:
    messages = row.get("messages")
    return isinstance(messages, list) and any(isinstance(said, dict) and "training" in said for said in messages)


def _ends_with_answer(row: Row) -> bool:
    messages = row.get("messages")
    ends = isinstance(messages, list) and bool(messages) and _is_answer(messages[-1])
    return ends and not _says_what_is_trained(row)


_COMPARED = ("chosen", "rejected", "kto_tag")

CONVERSATIONS = (
    *(
        Shape(
            "sharegpt",
            "ShareGPT's conversations",
            (column,),
            ("messages",),
            _prompt_of_conversation,
            _rows_of_conversation,
            reads=("tools",),
            without=(*_COMPARED, *without, "prompt", "messages"),
            whole=True,
        )
        for column, without in (("conversations", ()), ("conversation", ("conversations",)))
    ),
    Shape(
        "llama-factory",
        "LLaMA-Factory's pairs",
        ("conversations", "chosen", "rejected"),
        ("chosen", "rejected"),
        _conversation,
        _compared_conversations,
        reads=("tools",),
        form=_is_object,
    ),
    Shape(
        "llama-factory",
        "LLaMA-Factory's labelled conversations",
        ("conversations", "kto_tag"),
        ("completion", "label"),
        _prompt_of_conversation,
        lambda row: _labelled(_conversation(row), row.get("kto_tag")),
        reads=("tools",),
    ),
    Shape(
        "llama-factory",
        "LLaMA-Factory's labelled messages",
        ("messages", "kto_tag"),
        ("completion", "label"),
        lambda row: before_last_answer(_messages(row)),
        lambda row: _labelled(_messages(row), row.get("kto_tag")),
    ),
    Shape(
        "axolotl",
        "Axolotl's pairs",
        ("messages", "chosen", "rejected"),
        ("chosen", "rejected"),
        _messages,
        _compared_conversations,
        form=_is_object,
    ),
    Shape(
        "axolotl",
        "Axolotl's conversations",
        ("messages",),
        ("completion",),
        lambda row: before_last_answer(row.get("messages")),
        _answered,
        without=(*_COMPARED, "prompt", "completion", "label", "score", "answers"),
        form=_says_what_is_trained,
    ),
    Shape(
        "axolotl",
        "Axolotl's labelled conversations",
        ("completion", "label"),
        ("completion", "label"),
        lambda row: before_last_answer(row.get("completion")),
        lambda row: _labelled(row.get("completion"), row.get("label")),
        without=("prompt", "instruction", "question", "messages", "text"),
        form=lambda row: isinstance(row.get("completion"), list),
    ),
    Shape(
        "trl",
        "conversations",
        ("messages",),
        ("messages",),
        lambda row: before_last_answer(_messages(row)),
        _rows_of_messages,
        without=(*_COMPARED, "prompt", "completion", "label", "score", "answers"),
        form=_ends_with_answer,
        whole=True,
    ),
    Shape(
        "openai-preference",
        "OpenAI's pairs",
        ("input", "preferred_output", "non_preferred_output"),
        ("chosen", "rejected"),
        _openai_prompt,
        _openai_rows,
    ),
)
