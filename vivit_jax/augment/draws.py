"""Named random streams, so that no two purposes share random numbers.

The name's CRC-32 is folded into the key or seed: unlike `hash`, it is the same
in every process and Python version. A key either feeds a random function or
derives named streams, never both: `jax.random.split` could derive equal keys.
"""

import typing
import zlib
from typing import Literal

import jax
import numpy as np

Name = Literal[
  # Derived from the step's key: training.inputs, training.step.
  'augment',
  'mix',
  'network',
  'dropout',
  # Derived from 'augment': augment.device.
  'flip',
  'colour_jitter',
  'colour_drop',
  'erasing',
  # Derived from 'mix': augment.mixing.
  'mixup',
  'cutmix',
  'mixup_or_cutmix',
  # Derived from a clip's seed, on the host: data.clips.
  'start',
  'box',
  'randaugment',
]
NAMES: tuple[Name, ...] = typing.get_args(Name)


def key_for(key: jax.Array, name: Name) -> jax.Array:
  """Derives the JAX key of a named stream from the step's or a derived key."""
  return jax.random.fold_in(key, np.uint32(_listed_digest(name)))


def generator_for(seed: int, name: Name) -> np.random.Generator:
  """Returns the NumPy generator of a named stream; the seed is below 2**128."""
  # A list [seed, digest] would be ambiguous: a large seed takes several words.
  stream = np.random.SeedSequence(int(seed), spawn_key=(_listed_digest(name),))
  return np.random.default_rng(stream)


def digest(name: str) -> int:
  """Returns the CRC-32 of a name in UTF-8, from 0 to 2**32 - 1."""
  return zlib.crc32(name.encode())


def _listed_digest(name: str) -> int:
  """Returns the digest of a name; a ValueError if it is not listed."""
  if name not in NAMES:
    raise ValueError(
      f"unknown random stream '{name}'; draws.Name lists "
      f'{", ".join(NAMES)}: add a name for each new purpose.'
    )
  return digest(name)
