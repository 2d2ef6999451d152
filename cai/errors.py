"""Every error that cai raises on purpose; all are kinds of `CaiError`, whose message is one sentence.

CaiError                    anything cai says in one sentence
├── UsageError              the caller's input is at fault; the message names the place and the fix
│   ├── ConstitutionError   a constitution file cannot be read as one
│   ├── TemplateError       a prompt template is missing or broken
│   ├── InputError          the prompts or the data cannot be read at all
│   ├── ModelError          a model cannot be opened, or cannot do what was asked of it
│   └── RunError            a run directory is in use, belongs to other settings, or is not one
│       └── DamageError     a file in it is not as it was written
├── EngineError             a model that was open did not answer
│   ├── EngineGoneError     nobody can be asked any more; what was finished is kept
│   └── RequestError        one request failed
│       └── ContextError    the conversation does not fit the model
├── RowError                one row cannot be done; it is recorded, and the run goes on
├── StoreError              the disk, or the run's URL, refused; nothing that was written is harmed
└── InterruptError          somebody did not wait for another machine any longer

A function's `engine` may raise EngineGoneError and RequestError itself. What Python raises for a wrong call (an
argument that is not there) is Python's own TypeError, and Ctrl-C is KeyboardInterrupt.
"""

from cai.core.errors import (
    CaiError,
    ConstitutionError,
    ContextError,
    DamageError,
    EngineError,
    EngineGoneError,
    InputError,
    InterruptError,
    ModelError,
    RequestError,
    RowError,
    RunError,
    StoreError,
    TemplateError,
    UsageError,
)

__all__ = [
    "CaiError",
    "ConstitutionError",
    "ContextError",
    "DamageError",
    "EngineError",
    "EngineGoneError",
    "InputError",
    "InterruptError",
    "ModelError",
    "RequestError",
    "RowError",
    "RunError",
    "StoreError",
    "TemplateError",
    "UsageError",
]
