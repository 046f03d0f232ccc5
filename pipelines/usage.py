"""Usage errors: options that cannot be meant, which end a command with status 2 where a failure ends it with 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """An option's value that is not allowed, or options that cannot be meant together."""


@contextmanager
def reading_options() -> Iterator[None]:
    """Around the lines that turn options into a configuration: what it does not allow is a usage error."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
