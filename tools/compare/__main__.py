"""compare: is an experiment better than the first, or can the test images not tell?

python -m tools.compare                      the working folder against the last commit
python -m tools.compare HEAD sgd lower-lr    two experiments against the last commit
python -m tools.compare --join               the folds of cross-validation as one result
python -m tools.compare --run-folds 5        run them first
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.shared.errors import InputError, run_stage
from stages.shared.files import publish_folder, write_text
from stages.shared.progress import show_step

if TYPE_CHECKING:
    from tools.compare.results import Configuration
    from tools.compare.verdict import Findings

FOLDER = Path("data/compare")
DEFAULT = ("HEAD", "workspace")


def main() -> None:
    """Compare what the arguments name; exit with 1 where --fail-if-worse says so."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "revisions",
        nargs="*",
        metavar="REV",
        help="a commit, branch, tag or experiment, or `workspace`; all are compared with the first "
        "(default: HEAD workspace; with --join, all experiments that are folds)",
    )
    parser.add_argument("--shared", action="store_true", help="compare on the test images that all have")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of what is printed")
    parser.add_argument(
        "--fail-if-worse",
        type=float,
        metavar="FRACTION",
        help="exit with 1 if a verdict is `worse` and accuracy fell by more than this, such as 0.005",
    )
    parser.add_argument("--join", action="store_true", help="join the folds of each configuration")
    parser.add_argument(
        "--run-folds", type=int, metavar="K", help="run K folds as experiments, then join them"
    )
    arguments = parser.parse_args()
    if arguments.run_folds is not None and (arguments.run_folds < 2 or arguments.revisions):
        parser.error("--run-folds takes a number of 2 or more, and no revisions")
    compare_revisions(arguments, read_configurations(arguments))


def read_configurations(arguments: argparse.Namespace) -> "list[Configuration]":
    """Return what the arguments name, the folds joined where they say so."""
    from tools.compare.folds import join_folds, list_fold_experiments, run_folds
    from tools.compare.results import join_seeds, read_result

    revisions: Sequence[str] = arguments.revisions
    if arguments.run_folds is not None:
        revisions = run_folds(arguments.run_folds)
        arguments.join = True
    elif not revisions:
        revisions = list_fold_experiments() if arguments.join else DEFAULT
    elif len(revisions) == 1 and not arguments.join:
        revisions = [*revisions, "workspace"]
    revisions = list(dict.fromkeys(revisions))
    with show_step(f"compare: reading {len(revisions)} revisions"):
        results = [read_result(revision) for revision in revisions]
    configurations = join_seeds(join_folds(results) if arguments.join else results)
    if len(configurations) == 1 and not arguments.join:
        why = "its runs differ in training.seed alone" if len(results) > 1 else "is one revision"
        raise InputError(f"{configurations[0].name}: {why}; name another revision to compare with")
    return configurations


def compare_revisions(arguments: argparse.Namespace, configurations: "Sequence[Configuration]") -> None:
    """Compare all with the first, write data/compare, and print the verdicts."""
    from tools.compare.comparison_page import render_comparison
    from tools.compare.folds import write_out_of_fold
    from tools.compare.verdict import describe, name_changes, render_json, render_summary, say_judged

    findings = find_differences(configurations, shared_only=arguments.shared, are_joined=arguments.join)
    with publish_folder(FOLDER) as folder:
        write_text(folder / "summary.md", render_summary(findings))
        write_text(folder / "report.html", render_comparison(findings))
        if arguments.join:
            write_out_of_fold(folder / "out_of_fold.csv", findings.first.pool())
    if arguments.format == "json":
        print(render_json(findings), end="")
    else:
        lines = [f"{each.configuration.name}: {each.text}" for each in findings.joined]
        if findings.judged:
            lines.append(f"on {len(findings.paths):,} test images, against {findings.first.name}")
        for each in findings.judged:
            changes = name_changes(findings.first, each.configuration)
            lines.append(f"{each.configuration.name}{changes}: {describe(each)}")
        lines.append(say_judged(findings))
        print("\n".join(f"compare: {line}" for line in (*lines, f"open {FOLDER}/report.html")))
    for each in findings.judged if arguments.fail_if_worse is not None else ():
        fall = -each.comparison.find("accuracy").value
        if each.word == "worse" and fall > arguments.fail_if_worse:
            raise InputError(
                f"{each.configuration.name}: accuracy fell by {100 * fall:.2f} points; "
                f"--fail-if-worse allows {100 * arguments.fail_if_worse:g}"
            )


def find_differences(
    configurations: "Sequence[Configuration]", *, shared_only: bool, are_joined: bool
) -> "Findings":
    """Pair the test images of all configurations, and compare each with the first."""
    from stages.evaluate.curves import measure_areas
    from stages.evaluate.metrics import score_classes
    from stages.vision.dataset import number_groups
    from tools.compare.differences import compare, estimate
    from tools.compare.ledger import count_judged
    from tools.compare.results import match_images
    from tools.compare.verdict import Findings, Joined, judge

    first = configurations[0]
    results = [result for configuration in configurations for result in configuration.results]
    keys = match_images(results, shared_only=shared_only)
    reference = first.results[0]
    place = {key: row for row, key in enumerate(reference.keys)}
    rows = [place[key] for key in keys]
    groups = number_groups([reference.groups[row] for row in rows])
    runs = [[result.select(keys, reference.classes) for result in each.results] for each in configurations]
    folds = [each.results[0].list_folds(keys) for each in configurations]
    joined = []
    for configuration, predictions, of in zip(configurations, runs, folds, strict=True) if are_joined else ():
        pooled = configuration.pool().select(keys, reference.classes)
        scores = score_classes(
            pooled,
            classes=reference.classes,
            groups=groups,
            average_precision=measure_areas(pooled).average_precision.by_class,
        )
        joined.append(Joined(configuration, estimate(predictions, groups, folds=of), pooled, scores))
    comparisons = [
        compare(runs[0], other, groups, folds=(folds[0], of))
        for other, of in zip(runs[1:], folds[1:], strict=True)
    ]
    return Findings(
        first=first,
        judged=judge(configurations, comparisons),
        keys=keys,
        paths=[reference.paths[row] for row in rows],
        num_judged=count_judged(reference.prepared_md5),
        joined=joined,
    )


if __name__ == "__main__":
    run_stage(main)
