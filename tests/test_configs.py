"""Every config resolves, and its train step runs on shapes."""

import dataclasses
import importlib
import pathlib

import jax
import pytest

from vivit_jax import config as configs
from vivit_jax import models, sweeps
from vivit_jax.models import family as families
from vivit_jax.training import optim, step

FOLDER = pathlib.Path(__file__).parents[1] / 'configs'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
PAPER = {
  'k400_b16x2': (88_954_000, 0.1, 30),
  'k400_b16x2_fe': (115_062_928, 0.1, 30),
  'k400_b16x2_fsa': (117_319_312, 0.1, 30),
  'k400_b16x2_fdp': (88_952_464, 0.1, 30),
  'k400_b16x2_avg': (86_696_080, 0.1, 30),
  'k400_l16x2_fe': (606_827_920, 0.1, 30),
  # One class more or less is a row of 1024 weights and a bias.
  'k600_l16x2_fe': (606_827_920 + 200 * 1025, 0.1, 30),
  'mit_l16x2_fe': (606_827_920 - 95 * 1025, 0.25, 10),
  'ssv2_l16x2_fe': (606_827_920 - 226 * 1025, 0.5, 35),
  'ek100_l16x2_fe': (606_827_920 - 3 * 1025, 0.5, 50),
}
# Parameters, frames, side of the crop, clips a step, learning rate, epochs.
RELATIVES = {
  'k400_timesformer_b8x32': (121_566_352, 8, 224, 64, 0.005, 15),
  'k400_timesformer_hr16x16': (122_024_080, 16, 448, 64, 0.005, 15),
  'k400_timesformer_l96x4': (121_633_936, 96, 224, 64, 0.005, 15),
  'ssv2_timesformer_b8': (121_392_558, 8, 224, 64, 0.005, 15),
  'ssv2_timesformer_hr16': (121_850_286, 16, 448, 64, 0.005, 15),
  'ssv2_timesformer_l64': (121_435_566, 64, 224, 64, 0.005, 15),
  'k400_vtn_b16x8': (113_502_352, 16, 224, 16, 1e-3, 25),
  'k400_stam_b16': (119_205_520, 16, 224, 64, 0.005, 15),
  'k400_stam_b32': (119_217_808, 32, 224, 64, 0.005, 15),
  'k400_stam_b64': (119_242_384, 64, 224, 64, 0.005, 15),
  'k400_vit_b16': (86_106_256, 8, 224, 64, 0.005, 15),
  'k400_mvit_b16x4': (36_610_672, 16, 224, 512, 1.6e-3, 200),
  'k400_mvit_b32x3': (36_611_440, 32, 224, 512, 1.6e-3, 200),
  'k400_mvitv2_s16x4': (34_537_744, 16, 224, 512, 1.6e-3, 200),
  'k400_mvitv2_b32x3': (51_230_128, 32, 224, 512, 1.6e-3, 200),
  'k400_mvitv2_l40x3': (213_390_112, 40, 312, 512, 1.6e-3, 200),
  'ssv2_mvitv2_s16x4': (34_363_950, 16, 224, 64, 0.01, 100),
  'ssv2_mvitv2_b32x3': (51_056_334, 32, 224, 64, 0.006, 100),
  'k400_swin_t': (28_158_070, 32, 224, 256, 1e-3, 30),
  'k400_swin_s': (49_816_678, 32, 224, 512, 1e-3, 30),
  'k400_swin_b': (88_048_984, 32, 224, 512, 3e-4, 30),
  'k600_swin_b': (88_253_984, 32, 224, 512, 3e-4, 30),
  'ssv2_swin_b': (88_834_038, 32, 224, 512, 3e-4, 60),
  'k400_videomae_b': (86_534_800, 16, 224, 768, 7.5e-4, 75),
  'k400_videomae_l': (304_270_736, 16, 224, 256, 1e-3, 35),
  'ssv2_videomae_b': (86_361_006, 16, 224, 768, 7.5e-4, 30),
  # VideoGLUE's pool has no scale for each of 64 channels of a head.
  'k400_videoprism_b_probe': (117_037_520 - 64, 16, 288, 256, 1e-4, 150),
  'k400_videoprism_l_probe': (358_576_592 - 64, 8, 288, 256, 1e-4, 150),
  'ssv2_videoprism_b_probe': (
    117_037_520 - 64 - 226 * 769,
    16,
    288,
    256,
    1e-4,
    60_000 * 256 / 168_913,
  ),
  'k400_vjepa2_l_probe': (353_631_632, 128, 256, 256, 1e-3, 20),
  'ssv2_vjepa2_l_probe': (353_399_982, 32, 256, 256, 1e-3, 20),
}


def resolved(name: str) -> configs.TrainConfig:
  module = importlib.import_module(f'configs.{name}')
  return configs.resolve(module.get_config())


@pytest.mark.parametrize('name', NAMES)
def test_a_train_step_fits_together(name):
  config = resolved(name)
  if not config.model.heads:
    config = configs.with_heads(config, {'noun': 8, 'verb': 8})
  if 'scan' in families.get(config.model.family).supports:
    # One block is traced for all; the number of parameters is the same.
    scanned = dataclasses.replace(config.model, scan=True)
    config = dataclasses.replace(config, model=scanned)
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 0.1, config.model)
  state = jax.eval_shape(lambda: step.initialise(model, optimiser, config))
  found = (
    sum(x.size for x in jax.tree.leaves(state.params)),
    config.data.frames,
    config.data.crop[0],
    config.train.batch_size,
    config.optim.learning_rate,
    config.train.epochs,
  )
  if name in PAPER:
    count, *others = PAPER[name]
    assert found == (count, 32, 224, 64, *others)
  if name in RELATIVES:
    assert found == RELATIVES[name]

  clips = 2 * config.train.accumulate * jax.local_device_count()
  config = dataclasses.replace(
    config, train=dataclasses.replace(config.train, batch_size=clips)
  )
  update = step.train_step(model, optimiser, config)
  before, batch = step.shapes(model, optimiser, config)
  after, metrics = jax.eval_shape(update, before, batch)
  assert jax.tree.structure(after) == jax.tree.structure(before)
  assert [x.shape for x in jax.tree.leaves(after)] == [
    x.shape for x in jax.tree.leaves(before)
  ]
  assert {f'{head}/top1' for head in config.model.heads} <= metrics.keys()


def test_randaugment_of_the_papers_table_7():
  found = {
    name: (augment.randaugment_layers, augment.randaugment_magnitude)
    for name in PAPER
    if (augment := resolved(name).augment).randaugment_layers
  }
  assert found == {'ssv2_l16x2_fe': (2, 20.0), 'ek100_l16x2_fe': (2, 15.0)}


@pytest.mark.parametrize(
  'name, short_sides, pace, jitter, channels, flip',
  [
    ('k400_timesformer_b8x32', (256, 320, 224), 32, 'factor', 'rgb', 0.5),
    ('k400_timesformer_hr16x16', (448, 512, 448), 16, 'factor', 'rgb', 0.5),
    ('k400_timesformer_l96x4', (256, 320, 224), 4, 'factor', 'rgb', 0.5),
    ('ssv2_timesformer_b8', (256, 320, 224), None, 'inverse', 'bgr', 0.0),
    ('ssv2_timesformer_hr16', (448, 512, 448), None, 'inverse', 'bgr', 0.0),
    ('ssv2_timesformer_l64', (256, 320, 224), None, 'inverse', 'bgr', 0.0),
    ('k400_vtn_b16x8', (256, 320, 256), 8 * 30 / 25, 'factor', 'rgb', 0.5),
    ('k400_vit_b16', (256, 320, 224), 32, 'factor', 'rgb', 0.5),
  ],
)
def test_clips_as_slowfasts_loader_cuts_them(
  name, short_sides, pace, jitter, channels, flip
):
  """`pace` is in frames of a video of 30 frames a second."""
  config = resolved(name)
  data = config.data
  trained = [data.short_side * factor for factor in data.scale_jitter]
  assert [*trained, data.short_side] == pytest.approx(short_sides)
  if pace is None:
    assert (data.sampling, data.frames_per_second) == ('segments', None)
  else:
    assert data.sampling == 'span'
    assert 30 / data.frames_per_second == pytest.approx(pace)
  assert data.scale_jitter_uniform == jitter
  assert (data.channels, config.augment.flip) == (channels, flip)
  views = config.evaluation
  crops = 1 if 'vtn' in name else 3
  assert (views.temporal_views, views.spatial_crops) == (1, crops)
  assert (views.views_from, views.average) == ('start', 'logits')


@pytest.mark.parametrize(
  'name, per_epoch, falls',
  [
    ('k400_timesformer_b8x32', 10, {109: 5e-3, 110: 5e-4, 140: 5e-5}),
    ('ssv2_timesformer_l64', 10, {0: 5e-3, 109: 5e-3, 139: 5e-4, 149: 5e-5}),
    ('k400_vtn_b16x8', 10, {0: 1e-3, 129: 1e-3, 130: 1e-4, 240: 1e-5}),
  ],
)
def test_rates_fall_at_the_epochs_of_the_release(name, per_epoch, falls):
  config = resolved(name)
  steps = int(config.train.epochs * per_epoch)
  rate = optim.schedule(config.optim, steps=steps, steps_per_epoch=per_epoch)
  found = [float(rate(number)) for number in falls]
  assert found == pytest.approx(list(falls.values()))
  rule = config.optim
  assert (rule.momentum, rule.nesterov, rule.weight_decay) == (0.9, True, 1e-4)
  assert (rule.weight_decay_on, rule.clip_norm) == ('all', None)


@pytest.mark.parametrize('name, rates', [
  # 5e-4, or 2e-3, times videos / 256; 1e-6 times the same at the end.
  ('k400_videomae_b', {0: 0.0, 25: 3.75e-4, 50: 7.5e-4, 750: 1.5e-6}),
  ('k400_videomae_l', {0: 0.0, 25: 5e-4, 50: 1e-3, 350: 5e-7}),
  ('ssv2_videomae_b', {0: 0.0, 25: 3.75e-4, 50: 7.5e-4, 300: 1.5e-6}),
  # Times 16 nodes: from 1e-6 to 1e-4 in 30 epochs, to 1e-6 in 170.
  ('k400_mvit_b16x4', {0: 1.6e-5, 300: 1.6e-3, 2000: 1.6e-5}),
  ('k400_mvitv2_l40x3', {0: 1.6e-5, 300: 1.6e-3, 2000: 1.6e-5}),
  # Times 4 nodes: from 1e-4 to 0.0025 or 0.0015 in 3 epochs, to 1e-6.
  ('ssv2_mvitv2_s16x4', {0: 4e-4, 30: 0.01, 1000: 4e-6}),
  ('ssv2_mvitv2_b32x3', {0: 4e-4, 30: 0.006, 1000: 4e-6}),
])  # fmt: skip
def test_rates_are_the_projects(name, rates):
  config = resolved(name)
  steps = int(config.train.epochs * 10)
  rate = optim.schedule(config.optim, steps=steps, steps_per_epoch=10)
  found = [float(rate(number)) for number in rates]
  assert found == pytest.approx(list(rates.values()), rel=1e-4)


@pytest.mark.parametrize(
  'path',
  [path for path in FOLDER.glob('*.py') if 'def sweep(' in path.read_text()],
  ids=lambda path: path.stem,
)
def test_the_runs_of_a_sweep_are_configs(path):
  runs = sweeps.plan(resolved(path.stem), str(path))
  assert len({run.name for run in runs}) == len(runs) > 1
