"""Checking params.yaml: every mistake is refused, in one line that names its key and helps."""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from hypothesis import given
from hypothesis import strategies as st

from schemas.__main__ import format_yaml
from schemas.params import Params
from schemas.vision import transforms
from stages.params.document import MAX_LINES, Document, KeyPath, format_path, parse_yaml, read_document
from stages.params.messages import Mistake, match_keys
from stages.params.read import check_params, read_params
from stages.prepare_dataset.audit import IMAGE_KINDS
from stages.shared.errors import InputError
from tests.params.wrong_params import (
    ROOT,
    document_with,
    document_without,
    good_params,
    good_text,
    value_at,
    walk_keys,
    write_with,
    wrong_values,
)
from tests.params.yaml_samples import DATA, repeatable

TRANSFORMS = ("RandomCrop", "Normalize")
CHOICES: dict[KeyPath, list[str]] = {
    ("dataset", "color"): ["rgb", "grayscale"],
    ("dataset", "resize"): ["squish", "pad", "crop"],
    ("dataset", "undecodable"): ["exclude", "error"],
    **{("audit", kind): ["ignore", "warn", "exclude", "error"] for kind in (*IMAGE_KINDS, "tiny_class")},
    ("audit", "imbalance"): ["ignore", "warn", "error"],
    ("split", "leaks"): ["ignore", "warn", "exclude", "error"],
    ("loss", "name"): ["cross_entropy", "binary_cross_entropy", "focal"],
    ("optimizer", "name"): ["sgd", "adam", "adamw", "rmsprop", "muon"],
    ("lr_scheduler", "name"): ["constant", "step", "multi_step", "cosine", "one_cycle", "plateau"],
    ("training", "best_metric"): ["accuracy", "balanced_accuracy", "macro_f1", "loss"],
    ("training", "device"): ["auto", "cpu", "cuda", "mps"],
    ("training", "precision"): ["auto", "float32", "bfloat16", "float16"],
    ("evaluation", "checkpoint"): ["best", "last"],
}
LR_LINE = 1 + [line.partition(":")[0] for line in format_yaml(good_params()).splitlines()].index("  lr")


def refuse(text: str, tmp_path: Path) -> list[str]:
    """Return the lines a file is refused with, without the file's name; none if it is good."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    try:
        read_params(path)
    except InputError as error:
        lines = str(error).splitlines()
        assert all(line.startswith(f"{path}:") for line in lines)
        return [line.removeprefix(f"{path}:") for line in lines]
    return []


def test_committed_file_is_good() -> None:
    """The repository's own params.yaml passes, from the root of the repository."""
    assert isinstance(read_params(ROOT / "params.yaml"), Params)


@pytest.mark.parametrize("path", wrong_values(), ids=format_path)
def test_wrong_values(path: KeyPath) -> None:
    """Values that no parameter of the kind takes are refused at their line, with what is allowed."""
    # What stands behind a transform's name is told of its place in the list.
    place = path[:-1] if path[-1] in TRANSFORMS else path
    for raw in wrong_values()[path]:
        document = document_with(path, raw)
        problems = check_params(document)[1]
        assert problems, f"{raw} is accepted"
        for problem in problems:
            assert problem.path[: len(place)] == place, raw
            assert problem.line == document.line_of(problem.path)
            assert re.match(r"found .+; |unknown key; |missing; ", problem.message), raw
            assert problem.message.isprintable()
            assert len(problem.message) < 300
        assert len({problem.path for problem in problems}) == len(problems)


@pytest.mark.parametrize("path", list(walk_keys()), ids=format_path)
def test_missing_key(path: KeyPath) -> None:
    """Each key that is left out is named, in one line at its section, with what may stand there."""
    document = document_without(path)
    problems = check_params(document)[1]
    if path[-1] in TRANSFORMS:  # leaves an entry with nothing in it
        assert "found {}; allowed: a name, as in - ToTensor" in problems[0].message
        return
    [problem] = problems
    assert (problem.line, problem.path) == (document.line_of(path[:-1]), path)
    assert problem.message.startswith("missing; add it: ")


ABOVE_0 = "; allowed: a number above 0 and at most 1000"
FINITE = "; it must be finite"
BETAS = "; allowed: a list, each item a number of at least 0 and below 1"
CHANNELS = "; allowed: a list, each item a whole number of at least 1 and at most 4096"
KERNELS = "; allowed: 1, 3, 5, 7, 9 or 11"
COUNT = "; allowed: a whole number of at least 1 and at most 1048576"
WEIGHTS = "; allowed: null, balanced or a list, each item a number above 0 and at most 1000000"
NAMES = (
    "RandomRotation, RandomAffine, ColorJitter, RandomGrayscale, GaussianBlur, TrivialAugmentWide "
    f"or {len(transforms.TRANSFORMS) - 6} more, see schemas/params.schema.json"
)
SIDE = "a whole number of at least 1 and at most 4096"
PADDING = f"{SIDE.replace('1', '0', 1)} or a list, each item {SIDE.replace('1', '0', 1)}"
MOMENTUM = (
    "optimizer.momentum: unknown key; did you mean optimizer.sgd.momentum, optimizer.rmsprop.momentum or "
    "optimizer.muon.momentum?"
)
OPTIMIZER_KEYS = "name, lr, weight_decay, decay_norm_and_bias, sgd, adam, adamw, rmsprop and muon"
OPTIMIZER = f"the keys {OPTIMIZER_KEYS}"
LOSS = "the keys name, class_weights, cross_entropy, binary_cross_entropy and focal"
LOADER = "the keys batch_size, shuffle, sampling, num_workers and prefetch_factor"
FORM = "; allowed: a name, as in - ToTensor, or one name with its arguments, as in - RandomCrop: {padding: 4}"

# What `dvc exp run -S` writes without a word, and what is said against it. Where that is about another key
# than the one that is set, the key comes first, behind an @.
OVERRIDES = {
    "optimizer.lr=abc": f'found "abc"{ABOVE_0}',
    "optimizer.lr=": f'found ""{ABOVE_0}',
    "optimizer.lr=true": f"found true{ABOVE_0}",
    "optimizer.lr=null": f"found null{ABOVE_0}",
    "optimizer.lr=nan": f"found NaN{ABOVE_0}{FINITE}",
    "optimizer.lr=inf": f"found Infinity{ABOVE_0}{FINITE}",
    "optimizer.lr=-inf": f"found -Infinity{ABOVE_0}{FINITE}",
    "optimizer.lr=.inf": f'found ".inf"{ABOVE_0}',
    "optimizer.lr=1e400": f"found Infinity{ABOVE_0}{FINITE}",
    "optimizer.lr='1e-3'": f'found "1e-3"{ABOVE_0}; write 0.001, without quotes',
    "optimizer.lr=on": f'found "on"{ABOVE_0}',
    "optimizer.lr=0x1F": f'found "0x1F"{ABOVE_0}',
    "optimizer.lr=1:30": f'found "1:30"{ABOVE_0}',
    "optimizer.lr=2024-01-01": f'found "2024-01-01"{ABOVE_0}',
    "optimizer.lr=0": f"found 0{ABOVE_0}",
    "optimizer.lr=-0.1": f"found -0.1{ABOVE_0}",
    "optimizer.lr=[1,2]": f"found [1, 2]{ABOVE_0}",
    "optimizer.lr={a:1}": f'found {{"a": 1}}{ABOVE_0}',
    "optimizer.lr='a b'": f'found "a b"{ABOVE_0}',
    "optimizer.lr=99999999999999999999": f"found 99999999999999999999{ABOVE_0}",
    "optimizer=3": f"found 3; allowed: a section with {OPTIMIZER}",
    "optimizer=adam": (
        f'found "adam"; allowed: a section with {OPTIMIZER}; did you mean optimizer.name: adam?'
    ),
    "loss=null": f"found null; allowed: a section with {LOSS}",
    "optimizer.name=adamm": 'found "adamm"; allowed: sgd, adam, adamw, rmsprop or muon; did you mean adam?',
    "optimizer.name=lion": 'found "lion"; allowed: sgd, adam, adamw, rmsprop or muon',
    "optimizer.adam.betas=0.9": f"found 0.9{BETAS}",
    "optimizer.adam.betas=[0.9]": f"found [0.9]{BETAS}; its length must be at least 2",
    "optimizer.adam.betas=[0.9,0.9,0.9]": f"found [0.9, 0.9, 0.9]{BETAS}; its length must be at most 2",
    "optimizer.adam.betas=[0.9,1]": (
        "@optimizer.adam.betas.1: found 1; allowed: a number of at least 0 and below 1"
    ),
    "optimizer.sgd.momentum=0": (
        "@optimizer.sgd: nesterov needs a momentum above 0; raise momentum, or set nesterov: false"
    ),
    "dataset.source='D:/photos'": (
        'found "D:/photos"; allowed: a path of Linux or macOS; in WSL, C:\\ is /mnt/c/'
    ),
    "~optimizer.lr": "missing; add it: a number above 0 and at most 1000",
    "~loader": f"missing; add it: a section with {LOADER}",
    "+optimizer.rho=1": f"unknown key; allowed: {OPTIMIZER.removeprefix('the keys ')}",
    "+lr=1": "unknown key; it belongs under optimizer, as optimizer.lr",
    "+seed=1": "unknown key; did you mean split.seed, training.seed or tune.seed?",
    "loader.shuffle=yes": 'found "yes"; allowed: true or false; did you mean true?',
    "loader.shuffle=0": "found 0; allowed: true or false",
    "loader.batch_size=64.0": f"found 64.0{COUNT}; write 64",
    "loader.batch_size=1e2": f"found 100.0{COUNT}; write 100",
    "loader.batch_size=0": f"found 0{COUNT}",
    "loader.batch_size=true": f"found true{COUNT}",
    "network.cnn.kernel_size=4": f"found 4{KERNELS}",
    "network.cnn.kernel_size=true": f"found true{KERNELS}",
    "network.cnn.kernel_size=3.0": f"found 3.0{KERNELS}; write 3",
    "network.cnn.channels=[]": f"found []{CHANNELS}; its length must be at least 1",
    "network.cnn.channels=[16,0]": f"@network.cnn.channels.1: found 0; allowed: {SIDE}",
    "network.cnn.channels=[1,2,3,4,5]": (
        "found 5 items, which need images of at least 32 px; allowed: fewer, for images of 28 px"
    ),
    "loss.class_weights=3": f"found 3{WEIGHTS}",
    "loss.class_weights=[1]": f"found [1]{WEIGHTS}; its length must be at least 2",
    "loss.class_weights=[1,-1]": (
        "@loss.class_weights.1: found -1; allowed: a number above 0 and at most 1000000"
    ),
    "split.val_fraction=0.9": (
        "@split: val_fraction and test_fraction add up to 1.1; "
        "allowed: below 1, or nothing is left to train on"
    ),
    "split.fold=3": "@split: fold is 3; allowed: below folds, which is 1",
    "split.group='(a'": (
        'found "(a"; allowed: null, column, or a regular expression; this one is invalid: '
        "missing ), unterminated subpattern at position 0"
    ),
    "split.group='a{99999999999}'": (
        'found "a{99999999999}"; allowed: null, column, or a regular expression; this one is invalid: '
        "the repetition number is too large"
    ),
    "split.near_duplicate_bits=9": (
        "found 9; allowed: null, auto or a whole number of at least 0 and at most 8"
    ),
    "split.val_fraction=1": "found 1; allowed: a number above 0 and below 1",
    "split.seed=4294967296": "found 4294967296; allowed: a whole number of at least 0 and below 4294967296",
    "dataset.source=1_000": "found 1000; allowed: text; put it in quotes",
    "dataset.source=": 'found ""; allowed: text; it must not be empty',
    'dataset.source="a\nb"': 'found "a\\nb"; allowed: text on one line, without control characters',
    "dataset.source=s3://bucket/photos/": (
        'found "s3://bucket/photos/"; allowed: a path on this machine; write data/raw, after: '
        "dvc import-url s3://bucket/photos/ data/raw"
    ),
    "dataset.source=remote://storage/photos.zip": (
        'found "remote://storage/photos.zip"; allowed: a path on this machine; write data/photos.zip, after: '
        "dvc import-url remote://storage/photos.zip data/photos.zip"
    ),
    "dataset.source='azure://a b'": (
        'found "azure://a b"; allowed: a path on this machine; write data/raw, after: '
        "dvc import-url 'azure://a b' data/raw"
    ),
    "dataset.source=file:///home/me/photos": (
        'found "file:///home/me/photos"; allowed: a path; write /home/me/photos'
    ),
    "cluster.address=ray://head:10001": (
        'found "ray://head:10001"; allowed: null, auto or the host:port of a Ray cluster, to which this '
        "machine belongs"
    ),
    "network.weights_file=https://host/resnet.pth": (
        'found "https://host/resnet.pth"; allowed: a path on this machine; write data/resnet.pth, after: '
        "dvc import-url https://host/resnet.pth data/resnet.pth"
    ),
    "dataset.height_px=4097": f"found 4097; allowed: {SIDE}",
    "transfer.freeze=backbone": (
        "found backbone, but the network has no pretrained weights; allowed: null, unless "
        "network.weights_file, network.torchvision.weights or network.timm.weights names some"
    ),
    "split.group=column": (
        "found column, but dataset.labels is folders, which have no columns; allowed: null, or a regular "
        "expression, or set dataset.labels to a .csv with the column group"
    ),
    "dataset.labels=../labels.csv": (
        'found "../labels.csv"; allowed: folders, or the path of a .csv inside dataset.source, '
        "such as labels.csv"
    ),
    "lr_scheduler.warmup_epochs=1000": "found 1000; allowed: at most training.num_epochs, 15",
    "lr_scheduler.step.gamma=0": "found 0; allowed: a number above 0 and at most 1",
    "transforms=[]": "the list has to hold ToTensor and Normalize, each of them once",
    "transforms=RandomCrop": f'found "RandomCrop"; allowed: a list, each item {FORM.split(": ", 1)[1]}',
    "transforms.0=RandomCro": f'found "RandomCro"; allowed: {NAMES}; did you mean RandomCrop?',
    "transforms.0=RandomCrop": (f"@transforms.0.RandomCrop.padding: missing; add it: {PADDING}"),
    "transforms.0=3": f"found 3{FORM}",
    "transforms.0.RandomCrop.padding=x": f'found "x"; allowed: {PADDING}',
    "+transforms.0.RandomCrop.size=3": (
        "unknown key; allowed: padding, height_px, width_px, pad_if_needed, fill and padding_mode"
    ),
    "transforms.1={ToTensor:{x:1}}": (
        "@transforms.1.ToTensor.x: unknown key; allowed: none, write - ToTensor"
    ),
    "transforms.0=FiveCrop": (
        "found FiveCrop, which makes several images out of one; allowed: RandomCrop and CenterCrop"
    ),
    "transforms.2.Normalize.mean=0.5": "found 0.5; allowed: dataset, weights or a list, each item a number",
    "transforms.2.Normalize.mean=[0.5,0.5]": (
        "found 2 numbers; allowed: dataset, weights, or 1 for dataset.color: grayscale"
    ),
    "transforms.2.Normalize.std=[0]": "@transforms.2.Normalize.std.0: found 0; allowed: a number above 0",
    "transforms.2.Normalize.std=datset": (
        'found "datset"; allowed: dataset, weights or a list, each item a number above 0; '
        "did you mean dataset?"
    ),
}


@pytest.mark.parametrize(("override", "expected"), OVERRIDES.items(), ids=OVERRIDES)
def test_what_dvc_writes_without_a_word(override: str, expected: str, tmp_path: Path) -> None:
    """DVC's own code writes the value; the check meets it with one line, at the line it stands on."""
    path = tmp_path / "params.yaml"
    path.write_text(good_text())
    apply_overrides(path, [override])
    document = read_document(path)
    line_of = dict(document.lines)
    [problem] = check_params(document)[1]
    if expected.startswith("@"):
        key, _, expected = expected.removeprefix("@").partition(": ")
    else:
        key = override.lstrip("+~").partition("=")[0]
    dotted = tuple(int(part) if part.isdigit() else part for part in key.split("."))
    assert problem == (Document({}, line_of).line_of(dotted), dotted, expected)


# Overrides that DVC writes and that are right, among them numbers PyYAML would take for text.
GOOD_OVERRIDES: dict[str, tuple[KeyPath, Any]] = {
    "optimizer.lr=1e-5": (("optimizer", "lr"), 1e-05),
    "optimizer.lr=1": (("optimizer", "lr"), 1.0),
    "optimizer.lr=1.": (("optimizer", "lr"), 1.0),
    "optimizer.lr=.5": (("optimizer", "lr"), 0.5),
    "optimizer.lr=1e-22": (("optimizer", "lr"), 1e-22),
    "optimizer.name=sgd": (("optimizer", "name"), "sgd"),
    "loader.shuffle=False": (("loader", "shuffle"), False),
    "loss.class_weights=[1,2.5]": (("loss", "class_weights"), [1.0, 2.5]),
    "dataset.source=on": (("dataset", "source"), "on"),
    "dataset.source='012'": (("dataset", "source"), "012"),
    "dataset.source=2024-01-01": (("dataset", "source"), "2024-01-01"),
    "dataset.source='photos: 7://8'": (("dataset", "source"), "photos: 7://8"),
    "dataset.source='données/été'": (("dataset", "source"), "données/été"),
    "transforms.0.RandomCrop.padding=5": (("transforms", 0, "RandomCrop", "padding"), 5),
    "transforms.2.Normalize.mean=[0.5]": (("transforms", 2, "Normalize", "mean"), [0.5]),
}


@pytest.mark.parametrize(("override", "expected"), GOOD_OVERRIDES.items(), ids=GOOD_OVERRIDES)
def test_good_overrides(override: str, expected: tuple[KeyPath, Any], tmp_path: Path) -> None:
    """What DVC writes for a right value is read as that value."""
    path = tmp_path / "params.yaml"
    path.write_text(good_text())
    apply_overrides(path, [override])
    assert value_at(read_params(path).model_dump(mode="json"), expected[0]) == expected[1]


def test_every_variant_is_one_override(tmp_path: Path) -> None:
    """Each value of each choice fits the rest of the committed file as it stands."""
    for path, choices in CHOICES.items():
        for choice in choices:
            assert refuse(write_with(path, choice), tmp_path) == []


# Text of a good file, what it becomes, and every line it is refused with.
EDITS = {
    "a typo is one line, with its section's key": (
        [("    gamma: 2.0", "    gama: 2.0")],
        ["loss.focal.gama: unknown key; did you mean loss.focal.gamma?"],
    ),
    "another name for the one key that is missing": (
        [("  lr:", "  learning_rate:")],
        ["optimizer.learning_rate: unknown key; did you mean optimizer.lr?"],
    ),
    "a key above its section": (
        [("  focal:\n    gamma: 2.0", "  gamma: 2.0")],
        ["loss.gamma: unknown key; it belongs under loss.focal, as loss.focal.gamma"],
    ),
    "keys above their section": (
        [("  sgd:\n    momentum: 0.9\n    nesterov: true", "  momentum: 0.9\n  nesterov: true")],
        [
            "optimizer.momentum: unknown key; it belongs under optimizer.sgd, as optimizer.sgd.momentum",
            "optimizer.nesterov: unknown key; it belongs under optimizer.sgd, as optimizer.sgd.nesterov",
        ],
    ),
    "a key in another section": (
        [("  name: adamw\n", "  name: adamw\n  num_epochs: 3\n"), ("  num_epochs: 15\n", "")],
        ["optimizer.num_epochs: unknown key; it belongs under training, as training.num_epochs"],
    ),
    "a key not indented": (
        [
            ("  shuffle: true\n", "shuffle: true\n"),
            ("  sampling: uniform\n  num_workers: 0\n  prefetch_factor: 2\n", ""),
        ],
        [
            "loader.sampling: missing; add it: uniform, balanced or one_batch",
            "loader.num_workers: missing; add it: a whole number of at least 0 and at most 256",
            "loader.prefetch_factor: missing; add it: a whole number of at least 1 and at most 1024",
            "shuffle: unknown key; it belongs under loader, as loader.shuffle",
        ],
    ),
    "a misspelt section, what it holds, and what comes after": (
        [
            ("optimizer:", "optimzer:"),
            ("  weight_decay: 0.01", "  weight_deacy: x"),
            ("  top_k: 3", "  top_k: 1"),
        ],
        [
            "optimzer: unknown key; did you mean optimizer?",
            "optimizer.weight_deacy: unknown key; did you mean optimizer.weight_decay?",
            "optimizer.weight_decay: found \"x\"; allowed: a number of at least 0 and at most 1000",
            "evaluation.top_k: found 1; allowed: a whole number of at least 2 and at most 10000",
        ],
    ),
    "keys that resemble nothing": (
        [("  lr:", "  foo:"), ("  weight_decay:", "  bar:")],
        [
            "optimizer.lr: missing; add it: a number above 0 and at most 1000",
            "optimizer.weight_decay: missing; add it: a number of at least 0 and at most 1000",
            f"optimizer.foo: unknown key; allowed: {OPTIMIZER_KEYS}",
            f"optimizer.bar: unknown key; allowed: {OPTIMIZER_KEYS}",
        ],
    ),
    "a key twice, and a wrong value elsewhere": (
        [("  lr:", "  lr: 1\n  lr:"), ("  shuffle: true", "  shuffle: yes")],
        [
            "loader.shuffle: found \"yes\"; allowed: true or false; did you mean true?",
            f"optimizer.lr: is there twice, first on line {LR_LINE}; delete one",
        ],
    ),
    "a date, where text belongs": (
        [("  source: data/digits.zip", "  source: 2024-01-01")],
        ["dataset.source: found \"2024-01-01\"; allowed: text; put it in quotes"],
    ),
    "one key too many and one too few that have nothing to do with each other": (
        [("  weight_decay: 0.01", "  momentum: 0.9")],
        [
            "optimizer.weight_decay: missing; add it: a number of at least 0 and at most 1000",
            MOMENTUM,
        ],
    ),
    "a list that is too short, of wrong items": (
        [("  class_weights: null", "  class_weights: [-1]")],
        [
            f"loss.class_weights: found [-1]{WEIGHTS}; its length must be at least 2",
            "loss.class_weights.0: found -1; allowed: a number above 0 and at most 1000000",
        ],
    ),
    "a decimal comma": (
        [("    dropout: 0.2", "    dropout: 0,2")],
        [
            ('network.cnn.dropout: found "0,2"; allowed: a number of at least 0 and below 1; '
            "write 0.2, without quotes")
        ],
    ),
    "arguments one level too high": (
        [("  - RandomCrop: {padding: 2}", "  - RandomCrop:\n    padding: 2")],
        [
            f"transforms.0: found {{\"RandomCrop\": null, \"padding\": 2}}{FORM}",
        ],
    ),
    "an argument misspelt": (
        [("{padding: 2}", "{paddin: 2}")],
        ["transforms.0.RandomCrop.paddin: unknown key; did you mean transforms.0.RandomCrop.padding?"],
    ),
    "an argument of torchvision's misspelt": (
        [("RandomCrop: {padding: 2}", "ElasticTransform: {alpa: 3}")],
        [
            ("transforms.0.ElasticTransform.alpa: unknown key; did you mean "
            "transforms.0.ElasticTransform.alpha?")
        ],
    ),
    "a range that falls": (
        [("RandomCrop: {padding: 2}", "ColorJitter: {hue: [0.2, 0.1]}")],
        ["transforms.0.ColorJitter.hue: found [0.2, 0.1]; allowed: two numbers, the smaller one first"],
    ),
    "a window larger than the image": (
        [("{padding: 2}", "{padding: 2, width_px: 33}")],
        [
            ("transforms: images have 28 x 33 px in training and 28 x 28 px otherwise, where random "
            "transforms do not apply; allowed for network.name: cnn: the same, by Resize or CenterCrop with "
            "in_training: false"),
            ("transforms.0.RandomCrop.width_px: found 33; allowed: at most 32, the padded image, "
            "or pad_if_needed: true"),
        ],
    ),
    "rare classes counted twice": (
        [("  sampling: uniform", "  sampling: balanced"), ("class_weights: null", "class_weights: balanced")],
        [
            (
                "loss.class_weights: found balanced, beside loader.sampling: balanced, so that rare classes "
                "would count twice; allowed: one of them; write null here, or sampling: uniform there"
            ),
        ],
    ),
    "mixed labels for a loss that takes one": (
        [
            ("  name: cross_entropy", "  name: focal"),
            ("{mean: dataset, std: dataset}", "{mean: dataset, std: dataset}\n  - MixUp"),
        ],
        [
            ("loss.name: found focal, which cannot use the mixed labels of MixUp; allowed: cross_entropy, "
            "binary_cross_entropy, "
            "or transforms without MixUp")
        ],
    ),
    "transforms out of order": (
        [("  - ToTensor\n", "")],
        ["transforms: the list has to hold ToTensor and Normalize, each of them once"],
    ),
    "a secret character": (
        [("  color: grayscale", '  color: "gray\\e[31m\\u202escale"')],
        [
            ('dataset.color: found "gray\\u001b[31m\\u202escale"; allowed: rgb or grayscale; '
            "did you mean grayscale?"),
        ],
    ),
    "a long value": (
        [("  color: grayscale", f"  color: {'x' * 500}")],
        [f"dataset.color: found \"{'x' * 56}...; allowed: rgb or grayscale"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edits", "expected"), EDITS.values(), ids=EDITS)
def test_edit(edits: list[tuple[str, str]], expected: list[str], tmp_path: Path) -> None:
    """Each mistake of a person who edits the file has its line, and nothing else has one."""
    text = format_yaml(good_params())
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    lines = [line.partition(": ") for line in refuse(text, tmp_path)]
    assert [message for _, _, message in lines] == expected
    numbers = [int(number) for number, _, _ in lines]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(("text", "expected"), [
    ("", "1: is empty; write it, or bring it back with git restore"),
    ("[1, 2]", "1: found [1, 2]; allowed: a section with the keys dataset, audit, split, "),
    ("adam", "1: found \"adam\"; allowed: a section with the keys dataset, audit, split, "),
    ("---\n", "1: found null; allowed: a section with the keys dataset, audit, split, "),
    ("{}", "1: dataset: missing; add it: a section with the keys source, labels, "),
])  # fmt: skip
def test_no_parameters_at_all(text: str, expected: str, tmp_path: Path) -> None:
    """A file that is something else says what it ought to be."""
    assert refuse(text, tmp_path)[0].startswith(expected)


def typos(word: str) -> Iterator[str]:
    """Yield a word with one letter left out, doubled, added, replaced, or swapped with the next one."""
    for place, letter in enumerate(word):
        other = chr((ord(letter) - ord("a") + 7) % 26 + ord("a"))
        yield word[:place] + word[place + 1 :]
        yield word[:place] + letter + word[place:]
        yield word[:place] + other + word[place:]
        yield word[:place] + other + word[place + 1 :]
        if word[place : place + 2] != word[place : place + 2][::-1]:
            yield word[:place] + word[place + 1 : place + 2] + letter + word[place + 2 :]


def test_typos_in_keys() -> None:
    """Each of 500 one-letter typos of keys is told in a single line that names the right key."""
    good = good_params()
    cases = [
        (path, typo)
        for path in walk_keys()
        for typo in typos(str(path[-1]))
        if path[-1] not in TRANSFORMS and typo and typo not in value_at(good, path[:-1])
    ]
    for path, typo in random.Random(0).sample(cases, 500):
        old = (*path[:-1], typo)
        document = Document(good_params())
        document.rename(path, old)
        expected = f"unknown key; did you mean {format_path(path)}?"
        assert [problem[1:] for problem in check_params(document)[1]] == [(old, expected)]


def test_typos_in_arguments_of_transforms() -> None:
    """Of all one-letter typos of the arguments of all transforms, at least 98 % name the right one."""
    cases = [
        (("transforms", 0, transform.__name__, typo), ("transforms", 0, transform.__name__, key))
        for transform in transforms.TRANSFORMS
        for key in transform.model_fields.keys() - {"name"}
        for typo in typos(key)
        if typo not in transform.model_fields
    ]
    wrong = [old for old, new in cases if match_keys([Mistake(old, "extra_forbidden", {})])[old] != [new]]
    assert len(cases) > 1000
    assert len(wrong) <= 0.02 * len(cases), wrong


def test_typos_in_choices() -> None:
    """Of 1,000 one-letter typos of choices and transforms, at least 95 % get the right suggestion."""
    words = [(path, choice) for path, choices in CHOICES.items() for choice in choices]
    words += [(("transforms", 0), transform.__name__) for transform in transforms.TRANSFORMS]
    cases = [(path, choice, typo) for path, choice in words for typo in typos(choice)]
    wrong = []
    for path, choice, typo in random.Random(0).sample(cases, 1000):
        document = Document(good_params())
        value_at(document.data, path[:-1])[path[-1]] = typo
        problems = check_params(document)[1]
        if [problem.message.endswith(f"did you mean {choice}?") for problem in problems] != [True]:
            wrong.append((typo, problems))
    assert len(wrong) <= 50, wrong


@given(DATA)
@repeatable()
def test_any_data_is_accepted_or_refused(data: Any) -> None:
    """No file whatever raises anything but InputError."""
    document = parse_yaml(format_yaml(data))
    params, problems = check_params(document)
    assert (params is None) == bool(problems)


@given(st.sampled_from(list(walk_keys())), DATA)
@repeatable(max_examples=150)
def test_any_value_anywhere_is_accepted_or_refused(path: KeyPath, value: Any) -> None:
    """No value of any key raises anything; every refusal is one printable line."""
    data = good_params()
    value_at(data, path[:-1])[path[-1]] = value
    text = format_yaml(data)
    as_written, document = parse_yaml(text), parse_yaml(text)
    for problem in check_params(document)[1]:  # which puts misspelt keys right in its document
        assert problem.message.isprintable()
        if problem.message.startswith("is not valid YAML"):
            continue  # PyYAML, which wrote it, allows more; the line is where reading stopped
        assert problem.line in (as_written.line_of(problem.path), document.line_of(problem.path))


def test_many_mistakes_end_somewhere(tmp_path: Path) -> None:
    """A list of thousands of wrong items is refused in as many lines as a person would read."""
    start = time.process_time()
    lines = refuse(write_with(("loss", "class_weights"), f"[{'a,' * 10_000}]"), tmp_path)
    assert time.process_time() - start < 5  # 0.8 s on a machine that does nothing else
    assert len(lines) == MAX_LINES
    assert lines[-1] == f" and {10_000 - MAX_LINES + 1} more"


def test_stages_say_it_in_plain_words(tmp_path: Path) -> None:
    """A stage that meets a wrong file ends with status 1 and the lines, before it touches anything."""
    (tmp_path / "params.yaml").write_text(write_with(("optimizer", "lr"), "abc"))
    result = subprocess.run(
        [sys.executable, "-m", "schemas", str(tmp_path / "params.yaml")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r'.*params\.yaml:\d+: optimizer\.lr: found "abc"; .*\n', result.stderr)


def test_a_block_without_keys_is_written_as_braces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own variant may have no parameters; left empty in the file, its block is null."""
    monkeypatch.setattr("stages.params.messages._list_siblings", lambda path: [])
    data = good_params()
    data["network"]["cnn"] = None
    (tmp_path / "params.yaml").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"network\.cnn: found null; allowed: {}, a section without keys$"):
        read_params(tmp_path / "params.yaml")
