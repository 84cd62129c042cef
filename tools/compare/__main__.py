"""compare, top to bottom: read the revisions, pair their test images, judge, write.

python -m tools.compare                      the working folder against the last commit
python -m tools.compare HEAD sgd lower-lr    two experiments against the last commit
"""

import argparse
from pathlib import Path

from stages.shared.errors import InputError, run_stage
from stages.shared.files import publish_folder, write_text
from stages.shared.progress import show_step

FOLDER = Path("data/compare")


def main() -> None:
    """Compare what the arguments name; exit with 1 where --fail-if-worse says so."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=__doc__.split("\n")[0])
    parser.add_argument(
        "revisions",
        nargs="*",
        metavar="REV",
        default=["HEAD", "workspace"],
        help="a commit, branch, tag or experiment, or `workspace`; all are compared with the first "
        "(default: HEAD workspace)",
    )
    parser.add_argument("--shared", action="store_true", help="compare on the test images that all have")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of what is printed")
    parser.add_argument(
        "--fail-if-worse",
        type=float,
        metavar="FRACTION",
        help="exit with 1 if a verdict is `worse` and accuracy fell by more than this, such as 0.005",
    )
    arguments = parser.parse_args()
    if len(arguments.revisions) == 1:
        arguments.revisions.append("workspace")
    compare_revisions(arguments)


def compare_revisions(arguments: argparse.Namespace) -> None:
    """Read, compare, write data/compare, and print the verdicts."""
    from stages.vision.dataset import number_groups
    from tools.compare.differences import compare
    from tools.compare.ledger import count_judged
    from tools.compare.page import render_comparison
    from tools.compare.results import join_seeds, match_images, read_result
    from tools.compare.verdict import describe, judge, render_json, render_summary, say_judged

    with show_step(f"compare: reading {len(arguments.revisions)} revisions"):
        results = [read_result(revision) for revision in dict.fromkeys(arguments.revisions)]
    keys = match_images(results, shared_only=arguments.shared)
    first, *others = join_seeds(results)
    if not others:
        raise InputError(
            f"{first.name}: is one configuration, or differs only in training.seed; name another to compare with"
        )
    reference = first.results[0]
    place = {key: row for row, key in enumerate(reference.keys)}
    rows = [place[key] for key in keys]
    groups = number_groups([reference.groups[row] for row in rows])
    runs = [
        [result.select(keys, reference.classes) for result in configuration.results]
        for configuration in (first, *others)
    ]
    judged = judge([first, *others], [compare(runs[0], each, groups) for each in runs[1:]])
    paths = [reference.paths[row] for row in rows]
    num_judged = count_judged(reference.prepared_md5)
    with publish_folder(FOLDER) as folder:
        summary = render_summary(judged, first=first, paths=paths, num_judged=num_judged)
        write_text(folder / "summary.md", summary)
        page = render_comparison(judged, first=first, paths=paths, keys=keys, num_judged=num_judged)
        write_text(folder / "report.html", page)
    if arguments.format == "json":
        print(render_json(judged, first=first, num_images=len(keys), num_judged=num_judged), end="")
    else:
        print(f"compare: on {len(keys):,} test images, against {first.name}")
        for each in judged:
            print(f"compare: {each.configuration.name}: {describe(each)}")
        print(f"compare: {say_judged(num_judged)}")
        print(f"compare: open {FOLDER}/report.html")
    if arguments.fail_if_worse is not None:
        for each in judged:
            fall = -each.comparison.find("accuracy").value
            if each.word == "worse" and fall > arguments.fail_if_worse:
                raise InputError(
                    f"{each.configuration.name}: accuracy fell by {100 * fall:.2f} points; "
                    f"--fail-if-worse allows {100 * arguments.fail_if_worse:g}"
                )


if __name__ == "__main__":
    run_stage(main)
