"""Which settings a search found, what fresh seeds say of them, and the line that runs them."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from pydantic import JsonValue

from stages.pages.wording import plural
from tools.tune.trials import Search, Trial

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_NOT_TEXT = {"null", "true", "false", "nan", "inf"}
_TITLES = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class Candidate:
    """A finished trial, and its repeats on fresh seeds."""

    trial: Trial
    value: float
    """Of the trial itself, which was chosen for it."""

    repeats: Sequence[float]
    """On fresh seeds: nothing was chosen by these, so their mean is no winner's curse."""

    @property
    def mean(self) -> float:
        """Return the mean over fresh seeds, or the trial's own value where there are none."""
        return mean(self.repeats) if self.repeats else self.value


def rank_trials(search: Search) -> list[Trial]:
    """Return the trials that have settings of their own and a value: finished ones first, the best first."""
    sign = find_sign(search)
    with_value = [trial for trial in search.trials if trial.confirms is None and trial.value is not None]
    return sorted(
        with_value, key=lambda trial: (trial.state != "finished", sign * (trial.value or 0.0), trial.number)
    )


def list_candidates(search: Search) -> list[Candidate]:
    """Return the trials that fresh seeds confirmed, or the best alone where none was; the winner first.

    Empty where no trial finished.
    """
    repeats: dict[int, list[float]] = {}
    for trial in search.trials:
        if trial.confirms is not None and trial.state == "finished" and trial.value is not None:
            repeats.setdefault(trial.confirms, []).append(trial.value)
    finished = [
        Candidate(trial, trial.value, repeats.get(trial.number, ()))
        for trial in rank_trials(search)
        if trial.state == "finished" and trial.value is not None
    ]
    confirmed = [each for each in finished if each.repeats]
    sign = find_sign(search)
    return sorted(confirmed, key=lambda each: sign * each.mean) or finished[:1]


def describe_winner(search: Search) -> str:
    """Say in a few sentences how good the winner is, and what fresh seeds and the baseline say of that."""
    candidates = list_candidates(search)
    if not candidates:
        return _describe_failure(search)
    winner, metric = candidates[0], name_metric(search.metric)

    def write(value: float) -> str:
        return write_value(search.metric, value)

    if not winner.repeats:
        text = f"Trial {winner.trial.number} has the best {metric}: {write(winner.value)}."
        if search.baseline is not None:
            text += f" The parameters in params.yaml have {write(search.baseline)}."
        return f"{text} It was not run again on fresh seeds, and the best of many is partly the luckiest."
    low, high = write(min(winner.repeats)), write(max(winner.repeats))
    spread = f" ({low} to {high})" if len(winner.repeats) > 1 else ""
    text = (
        f"Trial {winner.trial.number} has a {metric} of {write(winner.mean)} on "
        f"{plural(len(winner.repeats), 'fresh seed')}{spread}; in the search it had {write(winner.value)}."
    )
    return f"{text} {_compare_with_baseline(search, winner)}".strip()


def write_command(settings: Mapping[str, JsonValue]) -> str:
    """Return the line that runs the pipeline with these settings, to be pasted into a shell."""
    return " ".join(["dvc exp run", *list_options(settings)])


def list_options(settings: Mapping[str, JsonValue]) -> list[str]:
    """Return the command's options, each quoted for a shell."""
    return [f"-S {shlex.quote(write_override(key, value))}" for key, value in settings.items()]


def write_override(key: str, value: JsonValue) -> str:
    """Return `key=value` as `dvc exp run -S` reads it, which is by Hydra's grammar."""
    return f"{key}={_write_hydra(value)}"


def write_value(metric: str, value: float) -> str:
    """Write a value of the metric: a loss as a number, a fraction in percent."""
    return f"{value:#.4g}".rstrip(".") if metric.endswith("loss") else f"{100 * value:.2f} %"


def name_metric(metric: str) -> str:
    """Return `validation loss` for `val.loss`."""
    name = metric.removeprefix("val.")
    return f"validation {_TITLES.get(name, name)}"


def write_setting(value: JsonValue) -> str:
    """Write a setting as a person reads it; `write_command` has all digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def find_sign(search: Search) -> int:
    """Return 1 if lower is better, otherwise -1."""
    return 1 if search.direction == "minimize" else -1


def _compare_with_baseline(search: Search, winner: Candidate) -> str:
    if search.baseline is None:
        return ""
    baseline, sign = write_value(search.metric, search.baseline), find_sign(search)
    num_better = sum(sign * value < sign * search.baseline for value in winner.repeats)
    own = f"the parameters in params.yaml ({baseline})"
    if num_better == len(winner.repeats):
        return f"{'That' if num_better == 1 else 'Every seed'} is better than {own}."
    if sign * winner.mean < sign * search.baseline:
        return f"{num_better} of {len(winner.repeats)} seeds are better than {own}, which may be chance."
    return f"That is no better than {own}: keep those."


def _describe_failure(search: Search) -> str:
    failed = [trial for trial in search.trials if trial.state == "failed"]
    if failed and len(failed) == len(search.trials):
        return f"All {plural(len(failed), 'trial')} failed. The first: {failed[0].reason}"
    if not search.trials:
        return "No trial has run."
    num_pruned = sum(trial.state == "pruned" for trial in search.trials)
    return f"No trial finished: {num_pruned:,} were pruned and {len(failed):,} failed, so there is no winner."


def _write_hydra(value: JsonValue) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_write_hydra, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_write_hydra(each)}" for key, each in value.items()) + "}"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    # Hydra takes backslashes as they are, except before a quotation mark.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), value)
    return f"'{escaped}'"
