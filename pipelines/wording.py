"""Numbers and findings of a run in words: a `Summary` in, plain sentences out. Nothing here knows HTML.

A difference is called clear only when its 95 % interval lies on one side of 0.
"""

from __future__ import annotations

import datetime
import math
import shlex
import statistics
from collections.abc import Sequence

from pipelines.summary import Command, Comparison, Interval, Summary
from sim.text import visible, visible_lines

METHODS = {
    "random weights": "random weights",
    "ImageNet weights": "ImageNet weights",
    "random": "random parameters",
    "all_off": "all off",
    "all_on": "all on",
    "best_fixed": "best fixed",
    "chosen": "chosen",
}
MEANING = {
    "random weights": "no pre-training",
    "ImageNet weights": "pre-training on photographs",
    "random": "mean over settings, each as likely",
    "all_off": "no variation",
    "all_on": "everything varies",
    "best_fixed": "one setting for all tasks",
    "chosen": "the choice for each task",
}
BASELINES = {"random weights": "random weights", "all_on": "varying everything"}
SENTENCES_PER_TASK = 6  # with more tasks than this the findings count instead of naming


def method_names(summary: Summary) -> list[str]:
    """Methods of the transfer table in the order in which they are shown."""
    present = {row.method for row in summary.transfer}
    return [name for name in METHODS if name in present] + sorted(present - set(METHODS))


def count(value: float | None) -> str:
    """A whole number with thin spaces between thousands."""
    if value is None:
        return "–"
    return f"{value:.2e}" if abs(value) >= 1e12 else f"{round(value):,}".replace(",", "\u202f")


def number(value: float | None, digits: int = 1) -> str:
    """Fixed decimals while that is readable, else three digits and an exponent; a real minus sign."""
    if value is None:
        return "–"
    text = f"{value:.3g}" if abs(value) >= 1e5 else f"{value:.{digits}f}"
    if text.strip("-0.") == "":
        text = text.lstrip("-")
    return text.replace("-", "\u2212")


def signed(value: float | None) -> str:
    text = number(value)
    return text if value is None or text[0] == "\u2212" or text.strip("0.") == "" else f"+{text}"


def interval(ci95: Interval | None, *, sign: bool = False) -> str:
    if ci95 is None:
        return "no interval"
    low, high = (signed(bound) if sign else number(bound) for bound in ci95)
    return f"{low} to {high}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for name, unit, below_name, below in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= unit:
            large, small = divmod(whole, unit)
            rest = small // below
            return f"{count(large)} {name} {rest} {below_name}" if rest else f"{count(large)} {name}"
    return f"{whole} s"


def per_class(counts: Sequence[int]) -> str:
    """ "20 each", or the range and the median of the images of each class."""
    if not counts:
        return "–"
    low, high = min(counts), max(counts)
    return (
        f"{count(low)} each"
        if low == high
        else f"{count(low)} to {count(high)}, median {count(statistics.median(counts))}"
    )


def imbalance(counts: Sequence[int]) -> str:
    """How many times as many images the largest class has as the smallest that has any."""
    present = [images for images in counts if images]
    said = f"{number(max(present) / min(present))} times" if present else "–"
    empty = len(counts) - len(present)
    return f"{said}; {count(empty)} without images" if empty else said


def file_size(num_bytes: int) -> str:
    unit, scale = ("GB", 1e9) if num_bytes >= 1e9 else ("MB", 1e6)
    return f"{number(num_bytes / scale)} {unit}"


def moment(text: str | None) -> str:
    """An ISO time as people write it; text that is no ISO time is left as it is."""
    if text is None:
        return "at an unrecorded time"
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{time.day} {time:%B %Y, %H:%M}{f' {time.tzname()}' if time.tzinfo else ''}"


def shell(command: Command) -> str:
    """A command as it can be pasted into bash and the like: argument lists quoted; a string is shown as it is."""
    return visible_lines(command) if isinstance(command, str) else " ".join(map(_quote, command))


def _quote(word: str) -> str:
    """One word for the shell; `$'..'` for control characters, so that no terminal gets them."""
    if visible(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escape, word))}'"


def _escape(char: str) -> str:
    """As `$'..'` takes it: control characters by their bytes, which are the same in every locale."""
    if visible(char) == char:
        return f"\\{char}" if char in "\\'" else char
    # surrogates of this range stand for single bytes of a file's name
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", errors))


def verdict(ci95: Interval | None) -> str:
    """above | below | open | unknown: where the interval of a difference lies relative to 0."""
    if ci95 is None:
        return "unknown"
    low, high = ci95
    return "above" if low > 0 else "below" if high < 0 else "open"


def compare(comparison: Comparison, *, named: bool) -> str:
    """ "4.2 points above random weights (95 % interval +1.0 to +7.3)"; `named` says what the interval is."""
    baseline, difference, side = BASELINES[comparison.b], comparison.difference, verdict(comparison.ci95)
    if difference is None:
        return f"not compared with {baseline}"
    said = f"{'95 % interval ' if named else ''}{interval(comparison.ci95, sign=True)}"
    if side == "open":
        return f"not clearly different from {baseline} ({signed(difference)} points, {said})"
    direction = "above" if difference >= 0 else "below"
    return f"{number(abs(difference))} points {direction} {baseline} ({said})"


def headline(summary: Summary) -> str:
    """The main result in one sentence."""
    tasks = summary.scored_tasks()
    if not tasks:
        return "No transfer score was measured yet, so there is nothing to conclude."
    row = summary.score(tasks[0], "chosen")
    score = summary.mean_score("chosen") if len(tasks) > 1 else row.score if row else None
    if score is None:
        return "The chosen parameters were not scored on every task, so there is no overall result yet."
    where = f"Averaged over {len(tasks)} tasks" if len(tasks) > 1 else f"On {tasks[0]}"
    start = f"{where}, backbones pre-trained with the chosen parameters score {number(score)} %"
    compared = _compared(summary, "average" if len(tasks) > 1 else tasks[0], named=True)
    return f"{start}: {compared}." if compared else f"{start}; they were not compared with random weights."


def findings(summary: Summary) -> list[tuple[str, str]]:
    """(subject, sentence) per finding, after the headline."""
    found = []
    tasks = summary.scored_tasks()
    if 1 < len(tasks) <= SENTENCES_PER_TASK:
        for task in tasks:
            row = summary.score(task, "chosen")
            if row is not None and row.score is not None:
                compared = _compared(summary, task, named=False) or "not compared with anything"
                found.append((task, f"{number(row.score)} %, {compared}."))
    elif len(tasks) > 1:
        found += [("Task by task", sentence) for name in BASELINES if (sentence := _count(summary, tasks, name))]
    found.append(("Preferences", preference_finding(summary)))
    if sentence := _rendering(summary):
        found.append(("Rendering", sentence))
    return found


def _compared(summary: Summary, task: str, *, named: bool) -> str:
    rows = [row for name in BASELINES if (row := summary.comparison(task, "chosen", name))]
    return ", and ".join(compare(row, named=named and index == 0) for index, row in enumerate(rows))


def _count(summary: Summary, tasks: Sequence[str], baseline: str) -> str | None:
    found = [summary.comparison(task, "chosen", baseline) for task in tasks]
    verdicts = [verdict(row.ci95) for row in found if row is not None]
    if not verdicts:
        return None
    above, below = verdicts.count("above"), verdicts.count("below")
    return (
        f"Against {BASELINES[baseline]}, the chosen parameters are clearly better on {above} of "
        f"{len(verdicts)} tasks, clearly worse on {below} and not clearly different on "
        f"{len(verdicts) - above - below}."
    )


def preference_finding(summary: Summary) -> str:
    """Whether two tasks prefer different parameters, with both intervals where they are known."""
    preference = summary.preference
    if preference is None:
        return "Whether two tasks prefer different parameters was not tested in this run."
    if preference.difference_a is None or preference.difference_b is None:
        default = "Two tasks prefer" if preference.found else "No two tasks were found that clearly prefer"
        return preference.text or f"{default} different parameters."
    p, q = (summary.setting_name(setting) for setting in (preference.setting_p, preference.setting_q))
    pair = f"{preference.task_a} and {preference.task_b}"
    start = (
        f"The tasks {pair} prefer different parameters"
        if preference.found
        else f"No two tasks clearly prefer different parameters; the closest pair is {pair}"
    )
    on_a = f"{signed(preference.difference_a)} points (95 % interval {interval(preference.ci95_a, sign=True)})"
    on_b = f"{signed(preference.difference_b)} points ({interval(preference.ci95_b, sign=True)})"
    return (
        f"{start}: on {preference.task_a}, “{p}” minus “{q}” is {on_a}; on {preference.task_b}, “{q}” minus “{p}” "
        f"is {on_b}."
    )


def _rendering(summary: Summary) -> str | None:
    timed = [row for row in summary.settings if row.num_images and row.render_seconds]
    images = sum(row.num_images or 0 for row in timed)
    seconds = math.fsum(row.render_seconds or 0.0 for row in timed)
    if not timed or seconds <= 0:
        return None
    settings = f"{len(timed)} settings" if len(timed) > 1 else "one setting"
    return f"{count(images)} images in {settings} were rendered at {number(images / seconds)} images per second."
