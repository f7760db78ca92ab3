"""A small dataset, written once for all tests, and a Ctrl-C that is heeded."""

import os
import pathlib
import signal

import jax
import pytest

from vivit_jax.data import prepare

# Tests neither see nor fill the user's compilation cache: not in this process,
# not in those that it starts.
jax.config.update('jax_enable_compilation_cache', False)
os.environ['JAX_ENABLE_COMPILATION_CACHE'] = 'false'

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
