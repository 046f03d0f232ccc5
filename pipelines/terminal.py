"""Where lines leave to the terminal: the only `print` of the package, so that no name reaches it raw."""

from __future__ import annotations

from typing import TextIO

from sim.text import visible_lines


def say(text: object, stream: TextIO | None = None) -> None:
    """Print lines on stdout, or on another stream, with control characters in words: names come from anywhere."""
    print(visible_lines(str(text)), file=stream, flush=True)
