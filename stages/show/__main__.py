"""Show images of a split before and after the training transforms of params.yaml.

Opens a window; writes a PNG where there is no display, or where --output is given.
"""

import argparse
from pathlib import Path

from schemas.shared.manifest import SPLIT_NAMES
from stages.params.read import read_params
from stages.shared.errors import run_stage


def main() -> None:
    """Show what the arguments ask for."""
    arguments = parse_arguments()
    params = read_params()
    # A wrong command line or file is refused before torch is imported, which takes seconds.
    from stages.show.display import has_display, show_window, write_picture
    from stages.show.grid import draw_grid
    from stages.show.images import draw_cells

    cells = draw_cells(
        params,
        split=arguments.split,
        num_images=arguments.num,
        epoch=arguments.epoch,
        seed=arguments.seed,
    )
    picture = draw_grid(cells, num_columns=arguments.columns)
    title = f"{arguments.split}: as prepared, and after the transforms of epoch {arguments.epoch}"
    if arguments.output or not has_display():
        write_picture(arguments.output or Path("data/show.png"), picture, title=title)
    else:
        show_window(picture, title=title)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m stages.show", description=__doc__)
    parser.add_argument("--split", choices=SPLIT_NAMES, default="train", help="default: %(default)s")
    parser.add_argument("--num", type=_positive, default=24, help="images to show; default: %(default)s")
    parser.add_argument("--columns", type=_positive, default=6, help="images in a row; default: %(default)s")
    parser.add_argument(
        "--epoch",
        type=_positive,
        default=1,
        help="epoch whose random changes are shown; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed chooses other images")
    parser.add_argument("--output", type=_png, help="write a PNG there instead of opening a window")
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a whole number of at least 1")
    return int(text)


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a file name that ends in .png")
    return Path(text)


if __name__ == "__main__":
    run_stage(main)
