"""Streams of different names share no random numbers."""

import ast
import collections
import pathlib

import jax
import numpy as np
import pytest

from vivit_jax.augment import draws

PACKAGE = pathlib.Path(draws.__file__).parents[1]
COUNT = 10_000


def of_key(seed: int, name: draws.Name) -> np.ndarray:
  key = jax.random.fold_in(jax.random.key(seed), 7)  # of step 7
  return np.asarray(jax.random.normal(draws.key_for(key, name), COUNT))


def of_generator(seed: int, name: draws.Name) -> np.ndarray:
  return draws.generator_for(seed, name).normal(size=COUNT)


def test_a_digest_is_the_published_crc32():
  """The check value of CRC-32/ISO-HDLC, the one of zlib and Ethernet."""
  assert draws.digest('123456789') == 0xCBF43926
  assert draws.digest('') == 0


def test_names_and_their_digests_are_distinct():
  assert len(draws.NAMES) >= 13
  assert len({draws.digest(name) for name in draws.NAMES}) == len(draws.NAMES)


@pytest.mark.parametrize('stream', [of_key, of_generator])
def test_streams_of_names_are_uncorrelated(stream):
  values = np.stack([stream(0, name) for name in draws.NAMES])
  assert len(np.unique(values[:, 0])) == len(draws.NAMES)
  correlations = np.corrcoef(values) - np.eye(len(draws.NAMES))
  assert np.abs(correlations).max() < 5 / np.sqrt(COUNT)


@pytest.mark.parametrize('stream', [of_key, of_generator])
def test_a_name_and_a_seed_say_which_stream(stream):
  np.testing.assert_array_equal(stream(3, 'flip'), stream(3, 'flip'))
  # Of 24 random bits, a few may be the same.
  assert (stream(3, 'flip') == stream(4, 'flip')).mean() < 1e-3


def test_large_seeds_share_no_stream_with_small_ones():
  """A seed of 2**32 is the words 0, 1 to NumPy, and a seed of 1 is 1, 0."""
  seeds = [0, 1, 2**32, 2**32 + 1, 2**61, 2**61 + 1]
  seeds += [draws.digest('box') << 32, draws.digest('box')]
  first = [
    draws.generator_for(np.int64(seed), name).integers(2**62)
    for seed in seeds
    for name in ('start', 'box')
  ]
  assert len(set(first)) == len(first)


@pytest.mark.parametrize(
  'derive',
  [
    lambda name: draws.key_for(jax.random.key(0), name),
    lambda name: draws.generator_for(0, name),
  ],
)
def test_a_name_that_is_not_listed_is_refused(derive):
  with pytest.raises(ValueError, match="stream 'flop'.* flip, "):
    derive('flop')


def test_each_name_is_used_in_one_place():
  """Two uses of a name under one key would draw the same numbers."""
  used = collections.Counter()
  for path in PACKAGE.rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
      if not isinstance(node, ast.Call):
        continue
      called = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
      if called in ('key_for', 'generator_for', 'step_key'):
        name = node.args[-1]
        if isinstance(name, ast.Constant):
          used[name.value] += 1
        else:  # step_key hands its own argument on
          assert path.name == 'inputs.py', f'{path}:{node.lineno}'
  assert used == dict.fromkeys(draws.NAMES, 1)
