"""A foreign checkpoint's classes are put into the dataset's order."""

import dataclasses
import json

import numpy as np
import pytest
import reference

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints import formats
from vivit_jax.errors import UserError
from vivit_jax.evaluation import trained
from vivit_jax.models.build import Size

SOURCE = reference.FIXTURES / 'model1_joint'
NAMES = [f'class {n:02}' for n in range(11)]


@pytest.fixture
def config(monkeypatch):
  # The fixture's sizes are in no table.
  monkeypatch.setitem(models.SIZES, 'Ti', Size(3, 4, 48, 96))
  config = configs.default()
  config.model.family, config.model.size = 'joint', 'Ti'
  config.data.frames, config.data.crop = 8, (48, 48)
  return configs.resolve(config)


def test_without_names_the_datasets_order_is_taken(config):
  found = trained.from_file(SOURCE, config, {'label': NAMES})
  expected = reference.parameters('model1_joint')['output_projection']
  np.testing.assert_array_equal(
    found.params['output_projection']['kernel'], expected['kernel']
  )
  assert found.config.model.heads == {'label': 11}


def test_a_class_order_moves_the_columns(config, tmp_path):
  (tmp_path / 'order.json').write_text(json.dumps({'label': NAMES[::-1]}))
  config = dataclasses.replace(config, class_order=str(tmp_path / 'order.json'))
  found = trained.from_file(SOURCE, config, {'label': NAMES})
  expected = reference.parameters('model1_joint')['output_projection']
  head = found.params['output_projection']
  np.testing.assert_array_equal(head['kernel'], expected['kernel'][:, ::-1])
  np.testing.assert_array_equal(head['bias'], expected['bias'][::-1])
  assert found.label_names == {'label': NAMES}


def test_classes_of_another_dataset_are_refused(config, tmp_path):
  names = ['other', *NAMES[1:]]
  (tmp_path / 'order.json').write_text(json.dumps({'label': names}))
  config = dataclasses.replace(config, class_order=str(tmp_path / 'order.json'))
  with pytest.raises(UserError, match="'class 00' of head label is in one"):
    trained.from_file(SOURCE, config, {'label': NAMES})


def test_a_model_without_a_head_cannot_be_scored(config, monkeypatch):
  whole = formats.read(SOURCE)
  arrays = {k: v for k, v in whole.arrays.items() if 'output' not in k}
  headless = dataclasses.replace(whole, arrays=arrays)
  monkeypatch.setattr(formats, 'read', lambda path, ema: headless)
  with pytest.raises(UserError, match='does not hold the whole model'):
    trained.from_file(SOURCE, config, {'label': NAMES})


def test_a_part_of_a_checkpoint_is_not_scored_as_the_whole(config):
  model = dataclasses.replace(config.model, positions='none')
  config = dataclasses.replace(config, model=model)
  with pytest.raises(UserError, match='more than the model: .*pos_embedding'):
    trained.from_file(SOURCE, config, {'label': NAMES})
