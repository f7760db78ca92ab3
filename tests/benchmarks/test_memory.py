"""What a step needs of memory, and which batches fit."""

import dataclasses

import pytest

from benchmarks import contestants, memory
from vivit_jax import config as configs


def test_the_largest_batch_is_a_power_of_two_on_the_line():
  # 10 at first, then 2 a clip: 13 of 4 clips, 21 of 8, 37 of 16.
  sizes = {1: 10.0, 8: 21.0, 16: 37.0}
  for limit, batch in (
    (9.9, 0),
    (10, 2),
    (12.9, 2),
    (13, 4),
    (20.9, 4),
    (21, 8),
    (37, 16),
    (68.9, 16),
    (69, 32),
  ):
    assert memory.largest_batch(sizes, limit) == batch


def test_clips_that_need_nothing_are_no_line():
  with pytest.raises(ValueError, match='16 clips'):
    memory.largest_batch({1: 10.0, 8: 10.0, 16: 10.0}, 80.0)


@pytest.mark.parametrize(
  'family',
  ('joint', pytest.param('factorised_encoder', marks=pytest.mark.slow)),
)
def test_stacked_blocks_with_remat_need_less_than_the_plain_form(family):
  small = dict(size='Ti', layers=4, frames=4, crop=96, batch=8)
  mine, arguments = memory.step_memory(
    'ours',
    contestants.with_defaults(family=family, **small, scan=True, remat='full'),
  )
  theirs, same = memory.step_memory(
    'plain', contestants.with_defaults(family=family, **small)
  )
  assert 0 < mine < theirs
  # Parameters and momentum are the same, and so are clips; XLA pads a little.
  assert arguments == pytest.approx(same, rel=1e-3)


@pytest.mark.slow
def test_a_config_needs_its_state_and_more_for_more_clips():
  config = configs.default()
  config.model.size, config.model.heads = 'Ti', {'label': 5}
  options = config.model.options
  options.spatial_layers = options.temporal_layers = 1
  config.model.scan = True
  config.data.frames, config.data.crop = 4, (32, 32)
  config.data.short_side = 32
  config.train.batch_size = 2
  config = configs.resolve(config)
  more = dataclasses.replace(
    config, train=dataclasses.replace(config.train, batch_size=8)
  )
  adamw = dataclasses.replace(
    config, optim=dataclasses.replace(config.optim, name='adamw')
  )
  least = memory.config_memory(config)
  # Six clips more are at least their pixels more.
  assert memory.config_memory(more) > least + 6 * 4 * 32 * 32 * 3
  # Two blocks of width 192, twelve of its squares each: one more copy of that.
  assert memory.config_memory(adamw) > least + 2 * 12 * 192**2 * 4 * 0.9
