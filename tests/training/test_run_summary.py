"""The summary states what is trained, with figures made by hand."""

import types

import jax
import numpy as np
import optax
import pytest

from configs import k400_b16x2_fe
from vivit_jax import config as configs
from vivit_jax.models import arithmetic
from vivit_jax.training import run_summary, step


@pytest.fixture
def experiment():
  config = configs.resolve(k400_b16x2_fe.get_config())
  names = {'noun': list('abcdef'), 'verb': ['go', 'run']}

  class Source:
    label_names = names
    multi_label = frozenset(['verb'])

    def __len__(self):
      return 48

  return types.SimpleNamespace(
    config=configs.with_heads(config, {'noun': 6, 'verb': 2}),
    source=Source(),
    validation_source=range(22),
    validation_period=12.5,
    steps=600,
  )


def lines_of(experiment, number=0):
  params = {'a': np.zeros((1000, 250), np.float32)}  # a million bytes
  state = step.TrainState(
    np.int32(number), params, (params, params), ema={'a': params['a'][:100]}
  )
  return run_summary.summarise(experiment, state).splitlines()


def test_each_line_by_hand(experiment, monkeypatch):
  monkeypatch.setattr(arithmetic, 'peak_operations', lambda device: 312e12)
  lines = lines_of(experiment)
  model, noun, verb, data, clip, augment, optimiser, *lines = lines
  training, devices, memory, start = lines
  assert 'factorised_encoder B: 250,000 parameters, 283.3 GFLOPs' in model
  assert "'noun': 6 classes (a, b, c, d, ...)" in noun
  assert "'verb': 2 classes" in verb and verb.endswith('(go, run)')
  assert "48 videos of 'train', 22 of 'validation' every 12.5 steps" in data
  assert '32 frames at stride 2, 224 x 224 pixels' in clip
  assert clip.endswith('mean 0.5, std 0.5')
  values = ('jitter 0.9 1.33', 'flip 0.5', 'jitter 0.8', 'drop 0.1')
  assert all(value in augment for value in values)
  assert not any(word in augment for word in ('erasing', 'mixup', 'repeats'))
  assert 'sgd, learning rate 0.1, cosine' in optimiser
  assert '600 steps (30 epochs) of 64 clips' in training
  assert f'{jax.device_count()} x cpu in 1 process' in devices
  assert '312 TFLOPS' in devices
  assert (
    'parameters 1.0 MB, optimiser 2.0 MB, averaged weights 0.1 MB' in memory
  )
  assert start.endswith('random parameters')


def test_a_resumed_run_and_one_without_validation(experiment):
  experiment.validation_source = experiment.validation_period = None
  lines = lines_of(experiment, 7)
  assert lines[3].endswith('no validation')
  assert 'resuming from step 7 of 600' in lines[-1]
  experiment.schedule = lambda updates: 0.001 * updates
  params = {'a': np.zeros(2, np.float32)}
  state = optax.scale_by_learning_rate(experiment.schedule).init(params)
  state = step.TrainState(
    np.int32(7), params, state._replace(count=np.int32(5))
  )
  last = run_summary.summarise(experiment, state, 12.0).splitlines()[-1]
  assert all(word in last for word in ('7 of 600', '30 epochs', '12', '0.005'))
  assert 'ended at step 600 of 600' in lines_of(experiment, 600)[-1]


def test_augmentation_and_rates_of_another_recipe(experiment):
  """What is on is stated with its values, and nothing else."""
  config = configs.default()
  config.augment.flip = 0.0
  assert run_summary.augmentation(configs.resolve(config)) == 'none'
  config.data.crop_area, config.augment.repeats = (0.08, 1.0), 2
  config.augment.randaugment_layers, config.augment.erasing = 4, 0.25
  config.augment.randaugment_scale = 'timm'
  config.augment.randaugment_magnitude = 7.0
  config.augment.randaugment_deviation = 0.5
  config.augment.mixup, config.augment.cutmix = 0.8, 1.0
  config.optim.backbone_rate, config.optim.warmup_rate = 0.125, 0.0625
  config = configs.resolve(config)
  experiment.config = configs.with_heads(config, {'noun': 6, 'verb': 2})
  augment, optimiser = lines_of(experiment)[5:7]
  values = ('area 0.08 1,', 'layers 4', '7 +- 0.5, timm', 'erasing 0.25')
  values += ('mixup 0.8', 'cutmix 1', 'repeats 2')
  assert all(value in augment for value in values)
  assert not any(word in augment for word in ('flip', 'smoothing', 'drop'))
  assert '0.125' in optimiser and '0.0625' in optimiser
