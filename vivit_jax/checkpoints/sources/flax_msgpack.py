"""flax's msgpack of a training state; it knows no model."""

import pathlib
from typing import Any

import msgpack
from flax import serialization

from vivit_jax.checkpoints import names
from vivit_jax.errors import damaged
from vivit_jax.models.weights import File


def open_file(path: pathlib.Path) -> File:
  """Opens a msgpack file.

  The parameters are in `optimizer/target`, one level further down in `params`,
  or in the newer `params`; the optimiser's own state is left.

  Raises:
    UserError: a file that is cut off, or has no parameters.
  """
  tree = _read_msgpack(path)
  optimizer = tree.get('optimizer')
  if isinstance(optimizer, dict) and isinstance(optimizer.get('target'), dict):
    layout, params = 'optimizer/target', optimizer['target']
  else:
    layout, params = 'params', tree.get('params')
  if isinstance(params, dict) and isinstance(params.get('params'), dict):
    layout, params = f'{layout}/params', params['params']
  if not isinstance(params, dict):
    raise damaged(path, 'it has neither optimizer/target nor params')
  arrays = dict(names.flatten(params))
  return File(path, 'msgpack', list(arrays), lambda: dict(arrays), layout)


def _read_msgpack(path: pathlib.Path) -> dict[str, Any]:
  try:
    tree = serialization.msgpack_restore(path.read_bytes())
  except (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OSError,
    MemoryError,
    RecursionError,
    msgpack.exceptions.UnpackException,
  ) as error:
    raise damaged(path, error) from None
  if not isinstance(tree, dict):
    raise damaged(path, 'it holds no parameters')
  return tree
