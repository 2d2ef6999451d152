"""A chat server whose model thinks, in the dialects that servers have for it; its words depend on the request alone.

The model has a template of its own, in which words are tokens, so that the prompt's length tells what reached it. It
says the same whether it thinks before or not.
"""

import hashlib
import json
import math
import random
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("see", "a", "doctor", "soon", "and", "drink", "water", "while", "you", "wait", "for", "help", "to", "come")
THOUGHT = "Let me think about what is asked here, and what would be a good thing to say."
TAGS = {"tags": ("<think>", "</think>"), "no opening tag": ("", "</think>"), "mistral": ("[THINK]", "[/THINK]")}
FIELDS = {"reasoning": "reasoning", "reasoning_content": "reasoning_content", "ollama": "reasoning"}
HARMONY = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>")


@dataclass
class Model:
    """What the served model is and the server understands.

    `says` is how its thoughts are told: by tags in the text, a field, parts, harmony's channels, or not at all
    (`plain`: it has none). `obeys` is the field by which thinking is turned off, `continues` what makes the server
    continue a turn: the flag, any last turn of the assistant's, or nothing. `refuses` are fields that it does not know.
    A `clever` model goes on with a broken-off word also in a turn of its own.
    """

    says: str = "plain"
    obeys: str = "chat_template_kwargs"
    by_default: bool = True
    continues: str = "flag"
    refuses: frozenset[str] = frozenset()
    owner: str = "vllm"
    keeps_thoughts: bool = True
    clever: bool = False
    counts: bool = True
    echoes: bool = False
    thought: str = THOUGHT
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def thinks(self, body: dict[str, Any]) -> bool:
        if self.says == "plain":
            return False
        told = body.get(self.obeys)
        told = told.get("enable_thinking") if isinstance(told, dict) else told
        return self.by_default if told is None else told not in (False, "none")

    def prompt(self, body: dict[str, Any]) -> tuple[str, str | None]:
        """Return the prompt, and how the turn begins that the server continues, None where it opens one."""
        messages = list(body["messages"])
        last = messages[-1]
        flagged = bool(body.get("continue_final_message")) and not body.get("add_generation_prompt", True)
        continues = {"flag": flagged, "any": True, "": False}[self.continues] and last["role"] == "assistant"
        begun = _begun(messages.pop(), keeps=self.keeps_thoughts) if continues else None
        turns = "".join(f" <start> {turn['role']} \n {_begun(turn)} <end> \n" for turn in messages)
        return f"{turns} <start> assistant \n {begun or ''}", begun

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt, begun = self.prompt(body)
        said = "yes" if "Reply with the one word" in prompt else self.text(body)
        if (begun or "").endswith("twel") or (self.clever and "twel <end>" in prompt):
            said = "ve, thirteen, fourteen"
        thinks = begun is None and self.thinks(body)
        words, room = said.split(), body["max_tokens"]
        thought = self.thought.split() if thinks else []
        cut = room < len(thought) + len(words)
        thought, words = thought[:room], words[: max(0, room - len(thought))]
        closed = not thinks or bool(words)
        message = self.message(" ".join(thought), " ".join(words), thinks=thinks, closed=closed)
        if begun is not None and self.echoes:
            message["content"] = begun + message["content"]
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [self.top(body, "<think>" if thinks else "")]}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(thought) + len(words)}
        fingerprint = "fp_ollama" if self.says == "ollama" else "b1"
        return {"choices": [choice], "usage": usage if self.counts else None, "system_fingerprint": fingerprint}

    def text(self, body: dict[str, Any]) -> str:
        return " ".join(_draw(body).choices(WORDS, k=12))

    def message(self, thought: str, text: str, *, thinks: bool, closed: bool) -> dict[str, Any]:
        if not thinks:
            return {"role": "assistant", "content": text}
        if self.says in FIELDS:
            return {"role": "assistant", "content": text if closed else None, FIELDS[self.says]: thought}
        if self.says == "parts":
            parts = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}], "closed": closed}]
            return {"role": "assistant", "content": [*parts, {"type": "text", "text": text}] if closed else parts}
        opening, closing = HARMONY if self.says == "harmony" else TAGS[self.says]
        return {"role": "assistant", "content": f"{opening}{thought}" + (f"\n{closing}\n\n{text}" if closed else "")}

    def top(self, body: dict[str, Any], first: str) -> dict[str, Any]:
        """Return the likeliest tokens: the thought's first, or the letters in some of their spellings."""
        if first:
            tops = [(first, 0.99), ("A", 0.005)]
        else:
            names = ("Yes", "No") if "Yes" in body["messages"][0]["content"] or "Yes" in str(body) else ("A", "B")
            share = _draw(body).choice((0.2, 0.35, 0.9))
            begun = self.prompt(body)[1] is not None
            tops = [(names[0], share), (f"{names[1]})" if begun else f"({names[1]}", 0.95 - share), ("The", 0.02)]
        top = [{"token": token, "logprob": math.log(share)} for token, share in tops]
        return {**max(top, key=lambda one: one["logprob"]), "top_logprobs": top}


def _begun(turn: dict[str, Any], *, keeps: bool = True) -> str:
    content = str(turn["content"])
    thought = turn.get("reasoning_content") or turn.get("reasoning")
    if thought and keeps:
        return f"<think>\n{thought}\n</think>\n\n{content}"
    return content if keeps else re.sub(r"(?s)<think>.*</think>\s*", "", content)


def _draw(body: dict[str, Any]) -> random.Random:
    messages = body["messages"][:-1] if body["messages"][-1]["role"] == "assistant" else body["messages"]
    asked = json.dumps([messages, body.get("seed")])
    return random.Random(hashlib.blake2b(asked.encode()).digest())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, model: Model) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        listed = {"id": "any", "max_model_len": 4096, "owned_by": self.server.model.owner}
        self._send(200, {"data": [listed]})

    def do_POST(self) -> None:
        model = self.server.model
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model.bodies.append(body)
        unknown = sorted(model.refuses & set(body))
        if unknown:
            message = f"Unrecognized request argument supplied: {unknown[0]}"
            self._send(400, {"error": {"message": message, "type": "invalid_request_error"}})
        else:
            self._send(200, model.answer(body))

    def _send(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(models: Sequence[Model]) -> Iterator[list[str]]:
    """Serve each model from a thread while the block runs; give their addresses."""
    servers = [_Server(model) for model in models]
    threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield [f"http://127.0.0.1:{one.server_address[1]}/v1" for one in servers]
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
