"""preprocessor_config.json is read as transformers reads it, or refused."""

import json

import numpy as np
import pytest

from vivit_jax.checkpoints import convert, load, sources
from vivit_jax.errors import UserError
from vivit_jax.models import preprocessor as preprocessors

SIDE = 32  # image_size of the fixture
PLAIN = {
  'size': {'shortest_edge': 40},
  'crop_size': {'height': SIDE, 'width': SIDE},
  'offset': False,
  'rescale_factor': 1 / 255,
  'do_normalize': False,
}
MEAN = {'do_normalize': True, 'image_std': 0.25}


FOLLOWED = [
  ({}, 40, 0, 1),
  ({'size': 48}, 48, 0, 1),
  ({'size': {'shortest_edge': 48, 'longest_edge': 50}}, 48, 0, 1),
  ({'size': None}, 256, 0, 1),
  ({'crop_size': SIDE}, 40, 0, 1),
  ({'crop_size': [SIDE, SIDE]}, 40, 0, 1),
  ({'do_flip_channel_order': True}, 40, 0, 1),  # not of this processor
  ({'feature_extractor_type': 'VivitFeatureExtractor'}, 40, 0, 1),
  (MEAN | {'image_mean': 0.4}, 40, 0.4, 0.25),
  (MEAN | {'image_mean': None}, 40, 0.5, 0.25),
  ({'offset': True, 'rescale_factor': 1 / 100}, 40, 100 / 255, 100 / 255),
]


@pytest.mark.parametrize('changes, short_side, mean, std', FOLLOWED)
def test_what_is_followed_by_hand(hugging_face, changes, short_side, mean, std):
  folder = hugging_face(preprocessor=PLAIN | changes)
  data = sources.read(folder).experiment['data']
  assert data['short_side'] == short_side and data['crop'] == (SIDE, SIDE)
  np.testing.assert_allclose(data['mean'], [mean] * 3)
  np.testing.assert_allclose(data['std'], [std] * 3)


@pytest.mark.parametrize('changes, short_side, mean, std', FOLLOWED)
def test_transformers_gives_the_same_pixels(
  hugging_face, changes, short_side, mean, std
):
  pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  folder = hugging_face(preprocessor=PLAIN | changes)
  processor = transformers.VivitImageProcessor.from_pretrained(folder)
  frame = np.random.default_rng(0).integers(
    0, 256, (short_side, short_side + 8, 3), np.uint8
  )
  found = processor([frame] * 2, return_tensors='np')['pixel_values'][0][0]
  top = (short_side - SIDE) // 2
  crop = frame[top : top + SIDE, top + 4 : top + 4 + SIDE]
  expected = (crop / 255 - mean) / std
  np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-5)


REFUSED = [
  ('do_resize', False),
  ('do_resize', 'false'),
  ('do_center_crop', False),
  ('size', {'height': SIDE, 'width': SIDE}),
  ('size', [SIDE, 60]),
  ('size', {'longest_edge': 64}),
  ('size', {'shortest_edge': SIDE - 1}),
  ('size', {}),
  ('size', 'big'),
  ('size', 40.5),
  ('crop_size', SIDE - 16),
  ('crop_size', {'height': SIDE, 'width': SIDE + 16}),
  ('crop_size', 'x'),
  ('image_processor_type', 'VideoMAEImageProcessor'),
  ('offset', 'false'),
  ('offset', None),
  ('do_rescale', 1),
  ('rescale_factor', 'x'),
  ('rescale_factor', 0),
  ('rescale_factor', None),
  ('do_normalize', 'no'),
  ('image_mean', [0.5]),
  ('image_mean', [0.5, 0.5, 'x']),
  ('image_mean', float('nan')),
  ('image_std', [0.5, 0.5, 0]),
  ('image_std', True),
]


@pytest.mark.parametrize('key, value', REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(hugging_face, key, value):
  """Only if it is needed: another config replaces it."""
  folder = hugging_face(preprocessor=PLAIN | {'do_normalize': True, key: value})
  with pytest.raises(UserError) as caught:
    load.load(folder)
  text = str(caught.value)
  for words in (f'{folder}/{preprocessors.NAME}: {key} ', json.dumps(value)):
    assert words in text
  assert '--config' in text and '\n' not in text


def test_another_config_replaces_a_preprocessing(hugging_face, tmp_path):
  folder = hugging_face(preprocessor=PLAIN | {'do_resize': False})
  config = load.load(hugging_face('other', preprocessor=PLAIN)).config
  assert load.load(folder, config=config).config.data == config.data
  assert 'do_resize' in convert.describe(sources.read(folder))
  for to in ('native', 'huggingface'):
    with pytest.raises(UserError, match='do_resize'):
      convert.convert(folder, tmp_path / to, to=to)
    convert.convert(folder, tmp_path / to, to=to, config=config)
    assert load.load(tmp_path / to).config.data.mean == (0.0,) * 3
  convert.convert(folder, tmp_path / 'scenic', to='scenic')  # has no config


@pytest.mark.parametrize(
  'changes, named',
  [
    ({'offset': True}, []),
    ({}, ["'offset'", '--config']),
    ({'image_mean': [0.4] * 3, 'rescale_factor': 1 / 255},
     ["'offset'", 'rescale_factor, image_mean', '--config']),
    ({'offset': True, 'resample': 3}, ['resample 3']),
  ],
)  # fmt: skip
def test_differences_from_transformers_are_noted(
  hugging_face, tmp_path, changes, named
):
  folder = hugging_face(preprocessor=changes)
  notes = sources.read(folder).notes
  assert len(notes) == bool(named)
  for words in named:
    assert words in notes[0]
  assert convert.convert(folder, tmp_path / 'new', to='huggingface') == notes


@pytest.mark.parametrize(
  'config',
  [
    {'id2label': ['a', 'b']},
    {'id2label': 7},
    {'id2label': {'x': 'a'}},
    {'id2label': {'1': 'a', '2': 'b'}},
    {'layer_norm_eps': 'x'},
    {'image_size': float('inf')},
  ],
)
def test_a_damaged_config_json_is_blamed(hugging_face, config):
  folder = hugging_face(**config)
  with pytest.raises(UserError, match=f'{folder}/config.json'):
    sources.read(folder)
