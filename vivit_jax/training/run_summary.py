"""Summary of a run, printed before the first compilation."""

from collections.abc import Sequence

import jax

from vivit_jax.config import DataConfig, OptimConfig, TrainConfig
from vivit_jax.data import datasets, frame_numbers
from vivit_jax.training import model_stats, optim
from vivit_jax.training.experiment import Experiment
from vivit_jax.training.step import TrainState


def summarise(
  experiment: Experiment, state: TrainState, previous: float | None = None
) -> str:
  """Returns the summary, one line per subject; the state is not replicated.

  `previous` is the number of epochs that a resumed run was to have; None: as
  many as now.
  """
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
    ('augment', augmentation(config)),
    ('optimiser', _optimiser(config.optim)),
    (
      'training',
      f'{experiment.steps} steps ({_number(train.epochs)} epochs) of '
      f'{train.batch_size} clips, seed {train.seed}',
    ),
    ('devices', _devices()),
    ('memory', f'{_memory(state)}, on each device'),
    ('start', _start(experiment, state, previous)),
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
  whole = '' if data.crop_area is None else 'by area, for evaluation '
  return (
    f'{data.frames} frames{frame_numbers.pace(data)}, {height} x {width} '
    f'pixels, cropped {whole}from short side {data.short_side}; '
    f'{data.channels.upper()}, mean {_values(data.mean)}, '
    f'std {_values(data.std)}'
  )


def augmentation(config: TrainConfig) -> str:
  """Returns the augmentation that is on, such as 'flip 0.5, mixup 0.8'."""
  data, augment = config.data, config.augment
  values = {
    'scale jitter': data.scale_jitter if data.scale_jitter != (1, 1) else None,
    'crop area': data.crop_area,
    'crop aspect': data.crop_area and data.crop_aspect,
    'flip': augment.flip,
    'RandAugment layers': augment.randaugment_layers,
    'colour jitter': augment.colour_jitter,
    'colour drop': augment.colour_drop,
    'erasing': augment.erasing,
    'mixup': augment.mixup,
    'cutmix': augment.cutmix,
    'repeats': augment.repeats if augment.repeats > 1 else None,
    'label smoothing': config.train.label_smoothing,
  }
  spread = augment.randaugment_deviation
  details = {
    'RandAugment layers': (
      f' (magnitude {_number(augment.randaugment_magnitude)}'
      + (f' +- {_number(spread)}' if spread else '')
      + f', {augment.randaugment_scale}, {augment.randaugment_operations})'
    ),
    'erasing': f' ({augment.erasing_fill})',
  }
  if augment.mixup:
    share = _number(augment.cutmix_probability)
    details['cutmix'] = f' (of {share} of the batches)'
  parts = [
    f'{name} {_values(value if isinstance(value, tuple) else (value,))}'
    f'{details.get(name, "")}'
    for name, value in values.items()
    if value
  ]
  return ', '.join(parts) or 'none'


def _optimiser(config: OptimConfig) -> str:
  warmup = (
    f'{_number(config.warmup_epochs)} epochs'
    if config.warmup_steps is None
    else f'{config.warmup_steps} steps'
  )
  parts = [
    f'{config.name}, learning rate {_number(config.learning_rate)}',
    f'{config.schedule} after a warm-up of {warmup}',
    f'weight decay {_number(config.weight_decay)} on {config.weight_decay_on}',
  ]
  options = {
    'warm-up from a share of': config.warmup_rate or None,
    'layer decay': None if config.layer_decay == 1.0 else config.layer_decay,
    'backbone rate x': (
      None if config.backbone_rate == 1.0 else config.backbone_rate
    ),
    'rate falls at epochs': config.decay_at or None,
    'clip norm': config.clip_norm,
    'trains only': config.train,
    'freezes': config.freeze,
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


def _start(
  experiment: Experiment, state: TrainState, previous: float | None
) -> str:
  step, epochs = int(state.step), experiment.config.train.epochs
  if step >= experiment.steps:
    return f'training ended at step {step} of {experiment.steps}'
  if step:
    text = f'resuming from step {step} of {experiment.steps}'
    if previous in (None, epochs):
      return text
    rate = experiment.schedule(optim.updates_made(state.opt_state))
    return (
      f'{text}, for {_number(epochs)} epochs instead of {_number(previous)}: '
      'from here on, the learning rate is that of the longer schedule, '
      f'{_number(float(rate))} at this step'
    )
  source = experiment.config.init_from
  return 'random parameters' if source is None else f'parameters of {source}'


def _values(values: Sequence[float]) -> str:
  """Returns values as text; equal values are written once."""
  values = values[:1] if len(set(values)) == 1 else values
  return ' '.join(_number(x) for x in values)


def _number(value: float) -> str:
  return f'{value:.6g}'
