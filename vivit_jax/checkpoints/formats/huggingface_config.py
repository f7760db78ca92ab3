"""The experiment that a Hugging Face folder of a ViViT describes."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from vivit_jax import config as configs
from vivit_jax.checkpoints.formats import files
from vivit_jax.config import DataConfig, ModelConfig, TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import SIZES

_SHORT_SIDE = 256  # the reference's, where no preprocessor tells another


def find(path: str | os.PathLike) -> pathlib.Path | None:
  """Returns the config.json of a ViViT of Hugging Face, if a path is of one.

  Args:
    path: of the folder, or of the safetensors file in it.

  Raises:
    UserError: a config.json that cannot be read.
  """
  folder = pathlib.Path(path)
  if folder.is_file():
    folder = folder.parent
  config = folder / 'config.json'
  if not (config.is_file() and (folder / 'model.safetensors').is_file()):
    return None
  return (
    config if files.read_json(config).get('model_type') == 'vivit' else None
  )


def read(path: pathlib.Path) -> TrainConfig:
  """Returns the model and the clips of a ViViT's config.json.

  The preprocessor's config beside it tells the pixels, if it is there; nothing
  tells the stride, which is this package's own.

  Raises:
    UserError: a model that cannot be built here, or a damaged file.
  """
  told = files.read_json(path)
  preprocessor = path.with_name('preprocessor_config.json')
  pixels = files.read_json(preprocessor) if preprocessor.exists() else {}
  try:
    side = int(told['image_size'])
    model = ModelConfig(
      family='joint',
      size=_size(told, path),
      tubelet=tuple(int(part) for part in told['tubelet_size']),
      spatial_layers=int(told['num_hidden_layers']),
    )
    data = DataConfig(
      frames=int(told['num_frames']),
      crop=(side, side),
      short_side=_short_side(pixels, side),
      **_normalisation(pixels),
    )
    config = TrainConfig(model=model, data=data)
    configs.check(config)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
    raise files.damaged(path, f'{type(error).__name__}: {error}') from None
  return config


def _size(told: Mapping[str, Any], path: pathlib.Path) -> str:
  """Returns the name of the size with a config's widths."""
  keys = ('num_attention_heads', 'hidden_size', 'intermediate_size')
  widths = tuple(told[key] for key in keys)
  for name, size in SIZES.items():
    if dataclasses.astuple(size)[1:] == widths:
      return name
  raise UserError(
    f'{widths[0]} attention heads of width {widths[1]} and an MLP of '
    f'{widths[2]} are of no size known here ({", ".join(SIZES)}).'
  )


def _short_side(pixels: Mapping[str, Any], side: int) -> int:
  if not pixels.get('do_resize', True):
    return side
  size = pixels.get('size') or {}
  return int(size.get('shortest_edge') or max(_SHORT_SIDE, side))


def _normalisation(
  pixels: Mapping[str, Any],
) -> dict[str, tuple[float, float, float]]:
  """Returns mean and std of pixels in [0, 1] that do what a preprocessor does.

  One with an offset maps to [-1, 1], as the reference does, and there its
  further normalisation is left out, which the weights were not trained with.
  """
  if not pixels or pixels.get('offset', True):
    return {'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}
  scale = 255 * float(pixels.get('rescale_factor', 1 / 255))
  mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
  if pixels.get('do_normalize', True):
    mean, std = pixels['image_mean'], pixels['image_std']
  mean, std = ([float(x) / scale for x in each] for each in (mean, std))
  return {'mean': tuple(mean), 'std': tuple(std)}
