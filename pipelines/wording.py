"""Numbers and findings of a run in words: a `Summary` in, plain sentences out. Nothing here knows HTML.

A difference is called clear only when its 95 % interval lies on one side of 0.
"""

from __future__ import annotations

import datetime
import math
import re
import shlex
from collections.abc import Sequence

from pipelines.summary import Command, Comparison, Interval, Summary

METHODS = {
    "random weights": "random weights",
    "random": "random parameters",
    "all_off": "all off",
    "all_on": "all on",
    "best_fixed": "best fixed",
    "chosen": "chosen",
}
MEANING = {
    "random weights": "no pre-training",
    "random": "mean over uniformly drawn settings",
    "all_off": "no variation",
    "all_on": "domain randomisation",
    "best_fixed": "one setting for all tasks",
    "chosen": "the controller's choice for each task",
}
BASELINES = ("random weights", "all_on")
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
    """A command as it can be pasted into a shell: argument lists quoted, control characters escaped."""
    text = command if isinstance(command, str) else shlex.join(command)
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def verdict(ci95: Interval | None) -> str:
    """above | below | open | unknown: where the interval of a difference lies relative to 0."""
    if ci95 is None:
        return "unknown"
    low, high = ci95
    return "above" if low > 0 else "below" if high < 0 else "open"


def compare(comparison: Comparison, baseline: str) -> str:
    """ "4.2 points above random weights (95 % interval +1.0 to +7.3)"."""
    difference = comparison.difference
    if difference is None:
        return f"not compared with {baseline}"
    side = "above" if difference >= 0 else "below"
    inside = {
        "above": f"95 % interval {interval(comparison.ci95, sign=True)}",
        "below": f"95 % interval {interval(comparison.ci95, sign=True)}",
        "open": f"95 % interval {interval(comparison.ci95, sign=True)}: no clear difference",
        "unknown": "without an interval",
    }[verdict(comparison.ci95)]
    return f"{number(abs(difference))} points {side} {baseline} ({inside})"


def headline(summary: Summary) -> str:
    """The main result in one sentence."""
    tasks = summary.scored_tasks()
    if not tasks:
        return "No transfer score was measured yet, so there is nothing to conclude."
    comparisons = [
        (BASELINE_WORDS[baseline], found)
        for baseline in BASELINES
        if (found := summary.comparison("average" if len(tasks) > 1 else tasks[0], "chosen", baseline))
    ]
    if not comparisons and len(tasks) > 1:
        means = [
            (baseline, chosen - mean)
            for baseline in BASELINES
            if (mean := summary.mean_score(baseline)) is not None
            and (chosen := summary.mean_score("chosen")) is not None
        ]
        comparisons = [
            (BASELINE_WORDS[b], Comparison("average", "chosen", b, difference)) for b, difference in means
        ]
    row = summary.score(tasks[0], "chosen")
    mean = summary.mean_score("chosen") if len(tasks) > 1 else row.score if row else None
    if mean is None:
        return "The chosen parameters were not scored on every task, so no overall result is given."
    where = f"Averaged over {len(tasks)} tasks" if len(tasks) > 1 else f"On {tasks[0]}"
    start = f"{where}, backbones pre-trained with the chosen parameters score {number(mean)} %"
    if not comparisons:
        return f"{start}; they were not compared with random weights."
    return f"{start}: {' and '.join(compare(row, baseline) for baseline, row in comparisons)}."


BASELINE_WORDS = {"random weights": "random weights", "all_on": "varying everything (all on)"}


def findings(summary: Summary) -> list[str]:
    """One sentence per finding, after the headline."""
    sentences = []
    tasks = summary.scored_tasks()
    if 1 < len(tasks) <= SENTENCES_PER_TASK:
        sentences += [sentence for task in tasks if (sentence := _task_finding(summary, task))]
    elif len(tasks) > 1:
        sentences += [
            sentence for baseline in BASELINES if (sentence := _count_finding(summary, tasks, baseline))
        ]
    sentences.append(preference_finding(summary))
    if sentence := _rendering_finding(summary):
        sentences.append(sentence)
    return sentences


def _task_finding(summary: Summary, task: str) -> str | None:
    row = summary.score(task, "chosen")
    if row is None or row.score is None:
        return None
    compared = [
        compare(found, BASELINE_WORDS[baseline])
        for baseline in BASELINES
        if (found := summary.comparison(task, "chosen", baseline))
    ]
    return f"{task}: {number(row.score)} %, {' and '.join(compared) or 'not compared with anything'}."


def _count_finding(summary: Summary, tasks: Sequence[str], baseline: str) -> str | None:
    found = [summary.comparison(task, "chosen", baseline) for task in tasks]
    verdicts = [verdict(row.ci95) for row in found if row is not None]
    if not verdicts:
        return None
    above, below = verdicts.count("above"), verdicts.count("below")
    return (
        f"Against {BASELINE_WORDS[baseline]}, the chosen parameters are clearly better on {above} of "
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
    start = (
        f"{preference.task_a} and {preference.task_b} prefer different parameters"
        if preference.found
        else f"No two tasks clearly prefer different parameters; the closest pair is {preference.task_a} and "
        f"{preference.task_b}"
    )
    return (
        f"{start}: on {preference.task_a}, “{p}” minus “{q}” is {signed(preference.difference_a)} points "
        f"(95 % interval {interval(preference.ci95_a, sign=True)}); on {preference.task_b}, "
        f"“{q}” minus “{p}” is {signed(preference.difference_b)} points ({interval(preference.ci95_b, sign=True)})."
    )


def _rendering_finding(summary: Summary) -> str | None:
    timed = [row for row in summary.settings if row.num_images and row.render_seconds]
    images = sum(row.num_images or 0 for row in timed)
    seconds = math.fsum(row.render_seconds or 0.0 for row in timed)
    if not timed or seconds <= 0:
        return None
    settings = f"{len(timed)} settings" if len(timed) > 1 else "one setting"
    return (
        f"{count(images)} images in {settings} were rendered at {number(images / seconds)} images per second."
    )
