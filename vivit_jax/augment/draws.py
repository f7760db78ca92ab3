"""Random streams by name, so that no two purposes share random numbers.

A name becomes a number by its CRC-32, which is the same in every process and
version of Python. A key or seed is either drawn from or derives named streams,
never both: JAX's own functions split a key by small numbers.
"""

import typing
import zlib
from typing import Literal

import jax
import numpy as np

Name = Literal[
  # Keys of a training step: training.inputs, training.step.
  'augment',
  'mix',
  'network',
  # Of 'augment', changes of single clips on the accelerator: augment.device.
  'flip',
  'colour_jitter',
  'colour_drop',
  'erasing',
  # Of 'mix': augment.mixing.
  'mixup',
  'cutmix',
  'mixup_or_cutmix',
  # Of a clip's seed, on the host: data.clips.
  'start',
  'box',
  'randaugment',
]
NAMES: tuple[Name, ...] = typing.get_args(Name)


def key_for(key: jax.Array, name: Name) -> jax.Array:
  """Returns the key of a named stream of a JAX key.

  Args:
    key: a step's key, or one that this function returned.
    name: one of NAMES.

  Raises:
    ValueError: a name that is not listed.
  """
  return jax.random.fold_in(key, np.uint32(_listed_digest(name)))


def generator_for(seed: int, name: Name) -> np.random.Generator:
  """Returns the NumPy generator of a named stream of a seed.

  Args:
    seed: at least 0, below 2**128.
    name: one of NAMES.

  Raises:
    ValueError: a name that is not listed.
  """
  # A list [seed, digest] would run together: a large seed takes several words.
  stream = np.random.SeedSequence(int(seed), spawn_key=(_listed_digest(name),))
  return np.random.default_rng(stream)


def digest(name: str) -> int:
  """Returns the CRC-32 of a name's UTF-8 bytes, from 0 to 2**32 - 1."""
  return zlib.crc32(name.encode())


def _listed_digest(name: str) -> int:
  """Returns the digest of one of NAMES."""
  if name not in NAMES:
    raise ValueError(
      f"there is no random stream '{name}'; draws.Name lists "
      f'{", ".join(NAMES)}: use one of its own for each purpose.'
    )
  return digest(name)
