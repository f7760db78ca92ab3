"""A run resumes only with its own config and data; limits on bad values."""

import dataclasses

import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.training import checks


@pytest.fixture
def about() -> Description:
  config = configs.resolve(configs.default())
  config = configs.with_heads(config, {'verb': 2})
  return Description(config, {'verb': ['come', 'go']}, '10 videos (digest a)')


@pytest.fixture
def folder(tmp_path, about):
  with Store(tmp_path) as store:
    store.save(3, {'step': np.int32(3)}, about)
  return tmp_path


def test_the_same_run_resumes(folder, about, tmp_path):
  checks.check_resumed(folder, about)
  checks.check_resumed(tmp_path / 'new', about)


@pytest.mark.parametrize(
  'change, named',
  [
    ({'label_names': {'verb': ['go', 'come']}}, 'class 0'),
    ({'label_names': {'verb': ['come', 'walk']}}, "verb.*'walk'"),
    ({'content': '10 videos (digest b)'}, r'digest a\).*digest b\)'),
  ],
)
def test_a_dataset_that_has_changed_is_refused(folder, about, change, named):
  with pytest.raises(UserError, match=named):
    checks.check_resumed(folder, dataclasses.replace(about, **change))


def test_the_config_of_a_checkpoint_is_compared_without_config_json(
  folder, about
):
  run = dataclasses.replace(about.config.train, seed=5)
  config = dataclasses.replace(about.config, train=run)
  with pytest.raises(UserError, match='train.seed'):
    checks.check_resumed(folder, dataclasses.replace(about, config=config))


def test_values_that_are_not_finite_are_refused():
  good = {'a': np.ones(3), 'b': {'c': np.zeros((2, 2))}}
  checks.check_finite(good, 'a parameter', 7)
  good['b']['c'][1, 0] = np.inf
  for bad in (good, float('nan')):
    with pytest.raises(UserError, match='a value .* at step 7'):
      checks.check_finite(bad, 'a value', 7)


class Videos:
  ids = [f'{number}.mp4' for number in range(40)]

  def __len__(self):
    return 40


def test_skipped_videos_are_named_once_and_limited(capsys):
  unreadable = checks.UnreadableVideos(Videos(), 0.05)
  unreadable.add(np.array([-1, 7, -1]))
  unreadable.add(np.array([7, -1]))
  assert capsys.readouterr().out.count("skipped: video '7.mp4'") == 1
  unreadable.add(np.array([8]))
  with pytest.raises(UserError, match='3 of 40 videos .*data.max_unreadable'):
    unreadable.add(np.array([9]))
