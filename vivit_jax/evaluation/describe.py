"""The settings of an evaluation as lines of text."""

from collections.abc import Sequence

import jax

from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.config import TrainConfig
from vivit_jax.data import frame_numbers
from vivit_jax.evaluation.checkpoint_selection import Candidate


def checkpoint(candidate: Candidate, loaded: LoadedModel) -> str:
  """Returns a line with a checkpoint's path, step, role and kind of weights."""
  parts = [candidate.path]
  if loaded.step is not None:
    parts.append(f'step {loaded.step}')
  if candidate.role:
    parts[-1] += f' ({candidate.role})'
  if loaded.averaged:
    parts.append('averaged weights')
  return _line('checkpoint', ', '.join(parts))


def settings(
  config: TrainConfig, loaded: LoadedModel, videos: int
) -> list[str]:
  """Returns lines for the model, heads, split, preprocessing and views.

  `loaded` is any of the evaluated checkpoints, which share one model.
  """
  model, data, evaluation = config.model, config.data, config.evaluation
  parameters = sum(x.size for x in jax.tree.leaves(loaded.params))
  temporal, spatial = evaluation.temporal_views, evaluation.spatial_crops
  where = '' if data.is_spread else frame_numbers.WHERE[evaluation.views_from]
  return [
    _line(
      'model',
      f'{model.family}, size {model.size}, {parameters / 1e6:.1f} M '
      f'parameters, {model.dtype}',
    ),
    *(
      _line('head', f'{head}: {_classes(names)}')
      for head, names in loaded.label_names.items()
    ),
    _line('split', f'{data.dataset}, {evaluation.split}: {videos} videos'),
    _line(
      'pixels',
      f'short side {data.short_side}, crop {data.crop[0]} x {data.crop[1]}, '
      f'{data.channels.upper()}, mean {_numbers(data.mean)}, std '
      f'{_numbers(data.std)}',
    ),
    _line(
      'views',
      f'{temporal} clips of {data.frames} frames{frame_numbers.pace(data)}'
      f'{where}, x {spatial} crops = {temporal * spatial} views a video, '
      f'{evaluation.average} averaged',
    ),
  ]


def _line(key: str, value: str) -> str:
  return f'{key:<12}{value}'


def _classes(names: Sequence[str]) -> str:
  """Returns '400 classes (abseiling, air drumming, applauding, ...)'."""
  shown = [x if len(x) <= 30 else f'{x[:29]}…' for x in names[:3]]
  more = ', ...' if len(names) > 3 else ''
  return f'{len(names)} classes ({", ".join(shown)}{more})'


def _numbers(values: Sequence[float]) -> str:
  return ' '.join(f'{value:g}' for value in values)
