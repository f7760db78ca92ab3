"""Summary of a run, printed before the first compilation."""

from collections.abc import Sequence

import jax

from vivit_jax.config import DataConfig, OptimConfig
from vivit_jax.data import datasets
from vivit_jax.training import model_stats
from vivit_jax.training.experiment import Experiment
from vivit_jax.training.step import TrainState


def summarise(experiment: Experiment, state: TrainState) -> str:
  """Returns the summary, one line per subject; the state is not replicated."""
  config, train = experiment.config, experiment.config.train
  count = sum(x.size for x in jax.tree.leaves(state.params))
  operations = model_stats.forward_operations(config)
  lines = [
    (
      'model',
      f'{config.model.family} {config.model.size}: {count:,} parameters, '
      f'{operations / 2e9:.4g} GFLOPs per clip (multiply-adds), '
      f'{config.model.dtype}',
    ),
    *(
      ('head', f"'{head}': {_classes(experiment.source, head)}")
      for head in config.model.heads
    ),
    ('data', _splits(experiment)),
    ('clip', _clip(config.data)),
    ('optimiser', _optimiser(config.optim)),
    (
      'training',
      f'{experiment.steps} steps ({_number(train.epochs)} epochs) of '
      f'{train.batch_size} clips, seed {train.seed}',
    ),
    ('devices', _devices()),
    ('memory', f'{_memory(state)}, on each device'),
    ('start', _start(experiment, int(state.step))),
  ]
  return '\n'.join(f'{subject:<10} {text}' for subject, text in lines)


def _classes(source: datasets.VideoSplit, head: str) -> str:
  names = source.label_names[head]
  shown = ', '.join(names[:4]) + (', ...' if len(names) > 4 else '')
  kind = ', any number per video' if head in source.multi_label else ''
  return f'{len(names)} classes{kind} ({shown})'


def _splits(experiment: Experiment) -> str:
  data, train = experiment.config.data, experiment.config.train
  text = f"{data.dataset}: {len(experiment.source)} videos of '"
  text += f"{data.train_split}'"
  if experiment.validation_source is None:
    return f'{text}, no validation'
  count = len(experiment.validation_source)
  period = _number(float(experiment.validation_period))
  return f"{text}, {count} of '{train.validation_split}' every {period} steps"


def _clip(data: DataConfig) -> str:
  height, width = data.crop
  rate = (
    f'stride {data.stride}'
    if data.frames_per_second is None
    else f'{_number(data.frames_per_second)} frames per second'
  )
  return (
    f'{data.frames} frames of {height} x {width} pixels, {rate}, cropped from '
    f'short side {data.short_side}; mean {_values(data.mean)}, std '
    f'{_values(data.std)}'
  )


def _optimiser(optim: OptimConfig) -> str:
  warmup = (
    f'{_number(optim.warmup_epochs)} epochs'
    if optim.warmup_steps is None
    else f'{optim.warmup_steps} steps'
  )
  parts = [
    f'{optim.name}, learning rate {_number(optim.learning_rate)}',
    f'{optim.schedule} after a warm-up of {warmup}',
    f'weight decay {_number(optim.weight_decay)}',
  ]
  options = {
    'layer decay': None if optim.layer_decay == 1.0 else optim.layer_decay,
    'clip norm': optim.clip_norm,
    'trains only': optim.train,
    'freezes': optim.freeze,
  }
  parts += [f'{k} {v}' for k, v in options.items() if v is not None]
  return ', '.join(parts)


def _devices() -> str:
  peak = model_stats.peak_operations()
  processes = jax.process_count()
  return (
    f'{jax.device_count()} x {jax.devices()[0].device_kind} in {processes} '
    f'{"process" if processes == 1 else "processes"}; peak for MFU '
    + ('unknown' if peak is None else f'{peak / 1e12:.4g} TFLOPS each')
  )


def _memory(state: TrainState) -> str:
  trees = {'parameters': state.params, 'optimiser': state.opt_state}
  if state.ema is not None:
    trees['averaged weights'] = state.ema
  sizes = {
    name: model_stats.megabytes(sum(x.nbytes for x in jax.tree.leaves(tree)))
    for name, tree in trees.items()
  }
  return ', '.join(f'{name} {size}' for name, size in sizes.items())


def _start(experiment: Experiment, step: int) -> str:
  if step >= experiment.steps:
    return f'training ended at step {step} of {experiment.steps}'
  if step:
    return f'resuming from step {step} of {experiment.steps}'
  source = experiment.config.init_from
  return 'random parameters' if source is None else f'parameters of {source}'


def _values(values: Sequence[float]) -> str:
  """Returns values as text; equal values are written once."""
  values = values[:1] if len(set(values)) == 1 else values
  return ' '.join(_number(x) for x in values)


def _number(value: float) -> str:
  return f'{value:.6g}'
