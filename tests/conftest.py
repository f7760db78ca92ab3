"""A small dataset, written once for all tests, and a Ctrl-C that is heeded."""

import os
import pathlib
import signal
import tempfile

import pytest

# The tests, their workers and the programs that they start share compiled
# programs, but not with the user's runs. jax reads this when it is imported.
# A folder that is set already is kept: the next run of the tests is faster.
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _compiled = tempfile.TemporaryDirectory()
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _compiled.name
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'

from vivit_jax.data import prepare  # noqa: E402

COUNTS = {'train': 48, 'validation': 16, 'test': 22}


@pytest.fixture(scope='session')
def prepared(tmp_path_factory) -> pathlib.Path:
  """Returns a data_dir that holds the dataset `moving_shapes`."""
  folder = tmp_path_factory.mktemp('data')
  prepare.prepare_embedded(folder, counts=COUNTS, workers=1)
  return folder


@pytest.fixture
def ctrl_c_heeded():
  """Lets programs begun here get Ctrl-C, however the suite was begun.

  What a script begins with `&` ignores it, and so does all that this begins.
  """
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)
