# make demo: a model trained and scored.  make test: the suite.  make lint.
# make test-slow: whole programs, trained, killed, on several processes.
# make test-torch: what compares with torch and transformers, which it installs.
# make test-export: exports, run in ONNX Runtime and LiteRT, which it installs.
# make bench: speed and memory; with TORCH_PYTHON=PATH/python, an interpreter
# that has torch and transformers, against these too.
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= configs/moving_shapes_ti8x2_fe.py
WORKDIR ?= runs/demo
# The scripts of launch/, which the tests run, have a variable of this name.
unexport PYTHON

.PHONY: demo test test-slow test-torch test-export lint bench clean

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

demo: .venv/installed
	$(BIN)/python train.py --config=$(CONFIG) --workdir=$(WORKDIR)
	$(BIN)/python evaluate.py --workdir=$(WORKDIR)
	@echo 'The report: $(WORKDIR)/evaluation/test/report.html'
	@echo 'The curves: $(BIN)/tensorboard --logdir=$(WORKDIR)'

test: .venv/installed-dev
	$(BIN)/python -m pytest -n auto -m "not slow"

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -n auto -m slow

test-torch: .venv/installed-dev
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -r requirements-torch.txt -c requirements.txt
	$(BIN)/python -m pytest tests/checkpoints/test_convert.py \
	  tests/checkpoints/test_torch_files.py \
	  tests/checkpoints/test_timesformer_weights.py \
	  tests/checkpoints/test_videoprism_files.py \
	  tests/models/test_per_frame.py tests/models/test_videomae.py \
	  tests/checkpoints/test_vjepa2_files.py \
	  tests/test_benchmarks.py::test_torch_is_compared_where_it_is_installed

test-export: .venv/installed-dev
	$(BIN)/pip install --quiet -r requirements-export.txt -c requirements.txt
	$(BIN)/python -m pytest tests/inference/test_export.py -k "onnx or (usage and tflite)"

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/installed
	$(BIN)/python -m benchmarks.input_pipeline
	$(BIN)/python -m benchmarks.train_step --family=joint --size=S --frames=16 \
	  --crop=112 --batch=4 $(if $(TORCH_PYTHON),--torch_python=$(TORCH_PYTHON))
	$(BIN)/python -m benchmarks.end_to_end
	$(BIN)/python -m benchmarks.probe

clean:
	rm -rf .venv
