"""Adding up tokens."""

from cai.core.records import Usage

NO_USAGE = Usage(0, 0, 0, 0)


def add_usage(one: Usage, other: Usage) -> Usage:
    """Return both together."""
    return Usage(
        one.requests + other.requests,
        one.prompt_tokens + other.prompt_tokens,
        one.cached_tokens + other.cached_tokens,
        one.completion_tokens + other.completion_tokens,
    )
