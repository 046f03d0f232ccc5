"""Names of files, classes and tasks as people may safely read them: what steers a terminal stands there in words."""

from __future__ import annotations

import re

# C0 and C1 controls (terminal sequences begin with them), marks that turn the direction of writing or end a line, and
# the lone surrogates that stand for bytes of a file's name that are no UTF-8
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(name: str) -> str:
    r"""The name on one line with its control characters as `\x1b`, those above ASCII as `\u009b`.

    JSON text stays the JSON text of the same value: `json.dumps` leaves only the latter kind unescaped.
    """
    return _STEERING.sub(lambda match: f"\\x{ord(match[0]):02x}" if match[0] < " " else f"\\u{ord(match[0]):04x}", name)


def visible_lines(text: str) -> str:
    """Every line of a text as `visible` shows it."""
    return "\n".join(visible(line) for line in text.split("\n"))
