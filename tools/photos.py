"""Have params.yaml train on photographs of your own, from pretrained weights.

python -m tools.photos path/to/folder    what `make photos SOURCE=path/to/folder` runs first

It writes recipes/photos.yaml to params.yaml with this source, unless params.yaml was made from the recipe
already: then only the source is set, and everything else stays as it is. A params.yaml that Git does not have
is never replaced. Then it fetches the weights, which would otherwise fail minutes later.
"""

import os
import sys
from pathlib import Path

from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

from schemas.params import Params
from schemas.shared.manifest import ImageForm
from stages.params.document import format_problems, parse_yaml
from stages.params.read import check_params
from stages.shared.errors import InputError, printable, run_stage
from stages.shared.files import write_text
from stages.shared.paths import find_dvc_folder
from tools.doctor.killed_runs import ask_git

PARAMS = Path("params.yaml")
RECIPE = Path("recipes/photos.yaml")

_USAGE = "make photos SOURCE=path/to/folder"


def main() -> None:
    """Write params.yaml, and fetch the weights that it names."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return
    if find_dvc_folder() is None or not RECIPE.is_file():
        raise InputError(f"{Path.cwd()}: is not the top of a darkroom project; run this there")
    source = check_source(sys.argv[1:])
    text, did = choose_text(source)
    params = check_text(text)
    if did:
        write_text(PARAMS, text)
    print(f"photos: {PARAMS} {did or 'reads that source already, and is kept as it is'}", flush=True)
    check_weights(params)


def check_source(arguments: list[str]) -> str:
    """Return the folder or archive that the command line names, as params.yaml will.

    Raises:
        InputError: There is no such thing.
    """
    if len(arguments) > 1:
        raise InputError(
            f"SOURCE: found {len(arguments)} paths; allowed: one; put quotes around a path with spaces"
        )
    if not arguments or not arguments[0].strip():
        raise InputError(f"SOURCE: name a folder of class folders, or an archive of one: {_USAGE}")
    path = Path(arguments[0]).expanduser()
    if not path.exists():
        raise InputError(
            f"SOURCE: {printable(arguments[0])}: there is no such folder or archive; allowed: a folder of "
            f"class folders, or a .zip or .tar of one: {_USAGE}"
        )
    # Inside the project it is written as it is there, so that no output depends on where the project lies.
    inside = path.resolve().is_relative_to(Path.cwd().resolve())
    return os.path.relpath(path) if inside and not path.is_symlink() else str(path)


def choose_text(source: str) -> tuple[str, str]:
    """Return what params.yaml is to hold, and in words what became of it; no words if it stays as it is.

    Raises:
        InputError: It would replace what Git does not have.
    """
    recipe = RECIPE.read_text(encoding="utf-8")
    now = PARAMS.read_text(encoding="utf-8", errors="surrogateescape") if PARAMS.exists() else ""
    if recipe.splitlines()[1] in now:  # the title, which DVC keeps when it changes a parameter
        found = check_text(now).dataset.source
        if Path(found).resolve() == Path(source).resolve():
            return now, ""
        return set_source(now, source), f"reads {printable(source)} now instead of {printable(found)}"
    committed = ask_git("show", f"HEAD:./{PARAMS}")
    if now.strip() and (committed is None or committed.strip() != now.strip()):
        raise InputError(
            f"{PARAMS}: has changes that Git does not have, and {RECIPE} would replace it; keep them with: "
            f"git add {PARAMS} && git commit -m parameters; or give them up with: git checkout {PARAMS}"
        )
    did = f"is {RECIPE} now, and reads {printable(source)}; to go back: git checkout {PARAMS} && make repro"
    return set_source(recipe.replace("$schema=../", "$schema="), source), did


def set_source(text: str, source: str) -> str:
    """Return a parameter file with another source; its other lines stay as they are."""
    document = parse_yaml_for_update(text, PARAMS)
    document["dataset"]["source"] = source
    return str(dumps_yaml(document))


def check_text(text: str) -> Params:
    """Return the parameters of the text of a file.

    Raises:
        InputError: It holds mistakes.
    """
    params, problems = check_params(parse_yaml(text))
    if params is None:
        raise InputError(format_problems(PARAMS, problems))
    return params


def check_weights(params: Params) -> None:
    """Fetch the weights of a library into its cache.

    Raises:
        InputError: There is no way to them.
    """
    network = params.network.chosen()
    if getattr(network.arguments, "weights", None) is None:
        return
    # Imported here: torch takes seconds.
    from stages.vision.networks import fetch_weights

    image = ImageForm.model_validate(params.dataset.model_dump(include=set(ImageForm.model_fields)))
    fetch_weights(network, image=image)


if __name__ == "__main__":
    run_stage(main)
