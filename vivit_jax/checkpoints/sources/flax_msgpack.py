"""Reads the msgpack of a Flax training state."""

import pathlib
from typing import Any

from flax import serialization

from vivit_jax.checkpoints import names
from vivit_jax.errors import damaged
from vivit_jax.models.weights import File


def open_file(path: pathlib.Path) -> File:
  """Opens a msgpack file.

  The parameters are in `optimizer/target` (older Flax) or `params`, or in a
  subtree `params` of either. The optimiser's state is ignored.

  Raises:
    UserError: a file that is truncated or has no parameters.
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
  except Exception as error:  # msgpack raises many types for broken files
    raise damaged(path, error) from None
  if not isinstance(tree, dict):
    raise damaged(path, 'it holds no parameters')
  return tree
