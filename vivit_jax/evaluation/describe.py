"""The settings of an evaluation as lines of text."""

from collections.abc import Sequence

import jax

from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.config import TrainConfig
from vivit_jax.evaluation.checkpoint_selection import Candidate

_NAMES = 3  # class names shown of each head
_NAME_LENGTH = 30  # max, in characters


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

  Args:
    config: of the evaluation.
    loaded: any of the evaluated checkpoints, which share one model.
    videos: number of videos in the split.
  """
  model, data, evaluation = config.model, config.data, config.evaluation
  parameters = sum(x.size for x in jax.tree.leaves(loaded.params))
  pace = f'stride {data.stride}'
  if data.frames_per_second:
    pace = f'{data.frames_per_second:g} frames a second'
  temporal, spatial = evaluation.temporal_views, evaluation.spatial_crops
  lines = [
    _line(
      'model',
      f'{model.family}, size {model.size}, {parameters / 1e6:.1f} M '
      f'parameters, {model.dtype}',
    )
  ]
  for head, names in loaded.label_names.items():
    lines.append(_line('head', f'{head}: {_classes(names)}'))
  return [
    *lines,
    _line('split', f'{data.dataset}, {evaluation.split}: {videos} videos'),
    _line(
      'pixels',
      f'short side {data.short_side}, crop {data.crop[0]} x {data.crop[1]}, '
      f'mean {_triple(data.mean)}, std {_triple(data.std)}',
    ),
    _line(
      'views',
      f'{temporal} clips of {data.frames} frames at {pace}, x {spatial} crops '
      f'= {temporal * spatial} views a video, {evaluation.average} averaged',
    ),
  ]


def _line(key: str, value: str) -> str:
  return f'{key:<12}{value}'


def _classes(names: Sequence[str]) -> str:
  """Returns '400 classes (abseiling, air drumming, applauding, ...)'."""
  shown = [
    name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + '…'
    for name in names[:_NAMES]
  ]
  more = ', ...' if len(names) > _NAMES else ''
  return f'{len(names)} classes ({", ".join(shown)}{more})'


def _triple(values: Sequence[float]) -> str:
  """Returns '0.485 0.456 0.406', or one number if all are equal."""
  shown = values[:1] if len(set(values)) == 1 else values
  return ' '.join(f'{value:g}' for value in shown)
