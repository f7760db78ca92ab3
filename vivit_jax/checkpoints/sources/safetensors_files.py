"""Reads safetensors."""

import pathlib

from safetensors import safe_open
from safetensors.numpy import load_file

from vivit_jax.checkpoints.sources import hugging_face
from vivit_jax.models.weights import File


def open_file(path: pathlib.Path) -> File:
  """Opens a safetensors file, with the Hugging Face configs beside it.

  The safetensors library checks sizes before it reads.

  Raises:
    UserError: a damaged JSON file.
  """
  with safe_open(path, 'np') as tensors:
    names = list(tensors.keys())
  configs = hugging_face.configs(path)
  return File(path, 'safetensors', names, lambda: load_file(path), '', *configs)
