"""The one tree of exceptions that cai raises on purpose.

CaiError                    anything cai says in one sentence instead of a traceback; exit code 1
├── UsageError              the user's input is at fault; the message names the place and the fix; exit code 2
│   ├── ConstitutionError   a constitution file cannot be read as one
│   ├── TemplateError       a prompt template is missing or broken
│   ├── InputError          the prompts cannot be read at all (a single bad row is a RowError)
│   ├── ModelError          a model cannot be opened, or cannot do what was asked of it
│   └── RunError            a run directory is locked, belongs to other settings, or is not one
│       └── DamageError     a file in it is not as it was written
├── EngineError             a model that was open did not answer
│   ├── EngineGoneError     nobody can be asked any more: the run stops and its unfinished rows stay owed
│   └── RequestError        this one request failed; `retryable` says whether asking again later can help
│       └── ContextError     the conversation does not fit the model: its own fault, no sign of a sick engine
├── RowError                one row cannot be done: stage, cause and the raw text; the run goes on
├── StoreError              the disk refused (full, read-only); nothing already written is harmed
└── InterruptError          a person did not wait for another machine any longer; exit code 130

Errors quote what servers, libraries and files say. Secrets are taken out of every message, and out of the raw text that
some keep, when the error is made (`cai.core.redaction`).
"""

from cai.core.redaction import hide_secrets, redact


class CaiError(Exception):
    """Anything cai tells in one sentence."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class UsageError(CaiError):
    """The user's input is at fault."""

    exit_code = 2


class ConstitutionError(UsageError):
    """A constitution file cannot be read as one."""


class TemplateError(UsageError):
    """A prompt template is missing or broken."""


class InputError(UsageError):
    """The prompts cannot be read at all."""


class ModelError(UsageError):
    """A model cannot be opened, or cannot do what was asked of it."""


class RunError(UsageError):
    """A run directory is locked, belongs to other settings, or is not one."""


class DamageError(RunError):
    """A file of a run is not as it was written."""


class EngineError(CaiError):
    """A model that was open did not answer."""


class EngineGoneError(EngineError):
    """Nobody can be asked any more; what a server answers, a refusal too, is a RequestError."""


class RequestError(EngineError):
    """One request failed, after the engine did what it could.

    `retryable` is true when the same request may succeed later (a time-out, an overloaded server), false when it
    never will (a context overflow, a refused parameter). `kind` is the same for failures with the same cause ("http
    400", "timeout", "no text"), whatever request ids and numbers their messages hold: failures are compared by it; by
    default it is the message up to its first colon. `raw` is what the engine said, if anything.
    """

    def __init__(self, message: str, *, retryable: bool, kind: str = "", raw: str = "") -> None:
        super().__init__(message)
        self.retryable = retryable
        self.kind = kind or str(self).partition(":")[0]
        self.raw = hide_secrets(raw)


class ContextError(RequestError):
    """The conversation does not fit the model's context or memory, now or ever."""

    def __init__(self, message: str, *, raw: str = "") -> None:
        super().__init__(message, retryable=False, kind="context", raw=raw)


class RowError(CaiError):
    """One row, or one part of it, cannot be done; `stage` says where it stopped, `raw` keeps what could not be used.

    `retryable` and `kind` are those of the request that failed; without a kind the failure is the row's own and tells
    nothing of the engine. `answered` are the stages at which requests had been answered before.
    """

    def __init__(
        self,
        message: str,
        *,
        stage: str,
        retryable: bool = False,
        kind: str = "",
        raw: str = "",
        answered: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.retryable = retryable
        self.kind = kind
        self.raw = hide_secrets(raw)
        self.answered = answered


class StoreError(CaiError):
    """The disk refused."""


class InterruptError(CaiError):
    """A person did not wait for another machine, or for an input, any longer."""

    exit_code = 130
