"""What a function needs that is compiled ahead, by hand."""

import jax
import numpy as np

from vivit_jax import parallel


def test_a_function_compiled_ahead_is_the_same_and_tells_its_memory():
  devices = jax.local_device_count()
  x = np.arange(devices * 1000, dtype=np.float32).reshape(devices, 1000)
  traced = []

  def function(x):
    traced.append(1)
    return x * 2.0

  ahead, held = parallel.compiled(parallel.map_over_devices(function), x)
  np.testing.assert_array_equal(ahead(x), 2.0 * x)
  np.testing.assert_array_equal(ahead(x + 1), 2.0 * x + 2.0)
  assert len(traced) == 1
  assert held == 2 * 4 * 1000  # what goes in and what comes out


def test_memory_that_is_used_again_counts_once():
  x = np.zeros((jax.local_device_count(), 1000), np.float32)
  function = parallel.map_over_devices(lambda x: x * 2.0, donate=(0,))
  _, held = parallel.compiled(function, x)
  assert held == 4 * 1000


def test_what_cannot_be_compiled_ahead_stays_as_it_is(monkeypatch):
  function = parallel.map_over_devices(lambda x: x)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  assert parallel.compiled(function, np.zeros(1)) == (function, None)
