"""Models that are open and answer, in whichever backend: see `cai.models.backends` for the table."""

from cai.models.backends import (
    TINY,
    Backend,
    EngineOptions,
    check_engine_options,
    check_sampling,
    model_forms,
    open_counter,
    open_engine,
    register_backend,
)

__all__ = [
    "TINY",
    "Backend",
    "EngineOptions",
    "check_engine_options",
    "check_sampling",
    "model_forms",
    "open_counter",
    "open_engine",
    "register_backend",
]
