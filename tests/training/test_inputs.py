"""A training step's keys."""

import itertools

import jax
import numpy as np

from vivit_jax.training import inputs


def test_seeds_steps_and_names_each_change_the_key():
  every = list(
    itertools.product((0, 1), range(5), ('augment', 'mix', 'network'))
  )
  words = [
    tuple(np.asarray(jax.random.key_data(inputs.step_key(seed, step, name))))
    for seed, step, name in every
  ]
  assert len(set(words)) == len(every) == 30


def test_a_compiled_step_has_the_same_key():
  compiled = jax.jit(lambda step: inputs.step_key(3, step, 'mix'))
  np.testing.assert_array_equal(
    jax.random.key_data(compiled(np.int32(9))),
    jax.random.key_data(inputs.step_key(3, 9, 'mix')),
  )
