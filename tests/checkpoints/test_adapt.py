"""What can be taken from other models is, and all arrays are accounted for."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import reference

from vivit_jax import config as configs
from vivit_jax.checkpoints import adapt, fit, formats, start
from vivit_jax.checkpoints.formats import names
from vivit_jax.errors import UserError
from vivit_jax.models import stacking

FIXTURES = reference.FIXTURES
IMAGE = FIXTURES / 'image_vit' / 'vision_transformer.npz'
GRID = (4, 3, 3)  # 8 x 48 x 48 in tubelets of 2 x 16 x 16
SHAPE = (1, 8, 48, 48, 3)


def fresh(name, shape=SHAPE, **changes):
  model = reference.model(name, **changes)
  params = model.init(jax.random.key(0), np.zeros(shape, np.float32))['params']
  return model, dict(names.flatten(jax.tree.map(np.asarray, params)))


def kinds(adapted):
  return {what: [r.name for r in adapted.rows if r.what == what]
          for what in ('loaded', 'adapted', 'fresh', 'left over')}  # fmt: skip


@pytest.mark.parametrize('name', reference.MODELS)
def test_the_same_model_takes_every_array(name):
  source = formats.read(FIXTURES / name)
  _, start_values = fresh(name)
  adapted = adapt.adapt(source, start_values, grid=GRID)
  found = kinds(adapted)
  assert len(found['loaded']) == len(source.arrays)
  assert not found['adapted'] + found['fresh'] + found['left over']
  for key, array in adapted.arrays.items():
    np.testing.assert_array_equal(array, source.arrays[key])


def test_another_head_is_left_fresh_and_all_else_loaded():
  source = formats.read(FIXTURES / 'model1_joint')
  _, start_values = fresh('model1_joint', heads={'noun': 3, 'verb': 2})
  found = kinds(adapt.adapt(source, start_values, grid=GRID))
  heads = ['output_projection/bias', 'output_projection/kernel']
  assert sorted(found['fresh']) == heads
  assert len(found['loaded']) == len(start_values) - 2


def still(image):
  return np.repeat(image[:, None], 8, axis=1)


@pytest.mark.parametrize('kernel', adapt.KERNELS)
@pytest.mark.parametrize('name', ['vision_transformer', 'big_vision'])
def test_a_still_clip_gives_the_image_models_own_feature(name, kernel):
  """Of each temporal index in Model 2's spatial encoder."""
  with np.load(FIXTURES / 'image_vit' / 'golden.npz') as file:
    golden = dict(file)
  model, start_values = fresh('model2_average_pooled')
  source = formats.read(FIXTURES / 'image_vit' / f'{name}.npz')
  adapted = adapt.adapt(source, start_values, grid=GRID, kernel=kernel)
  with jax.default_matmul_precision('highest'):
    features = model.apply(
      {'params': names.unflatten(adapted.arrays)},
      still(golden['image']),
      features=True,
    )
  expected = golden['cls_feature']
  np.testing.assert_allclose(
    features.pre_logits, expected, atol=2e-5 * np.abs(expected).max()
  )


def image_tokens(image):
  """Returns the image model's own tokens [B, h, w, D], as a clip of 1 frame."""
  source = formats.read(IMAGE)
  arrays = dict(source.arrays)
  arrays['embedding/kernel'] = arrays['embedding/kernel'][None]
  model = reference.model(
    'model1_joint', heads={'label': 21}, tubelet=(1, 16, 16)
  )
  params = {'params': names.unflatten(arrays)}
  return model.apply(params, image[:, None], features=True)


def test_a_still_clip_through_model_1_begins_as_many_copies_of_the_image():
  """Attention over t copies of the patches weighs the class token less.

  Without a class token there is no such difference: keys repeated t times give
  the same average. So the statement is exact for the averaging model.
  """
  with np.load(FIXTURES / 'image_vit' / 'golden.npz') as file:
    image = file['image']
  source = formats.read(IMAGE)
  plain = {k: v for k, v in source.arrays.items() if k != 'cls'}
  positions = 'Transformer/posembed_input/pos_embedding'
  plain[positions] = plain[positions][:, 1:]
  source = dataclasses.replace(source, arrays=plain)
  model, start_values = fresh('model1_joint', classifier='average')
  adapted = adapt.adapt(source, start_values, grid=GRID)
  one, one_start = fresh(
    'model1_joint',
    shape=(1, 1, 48, 48, 3),
    classifier='average',
    tubelet=(1, 16, 16),
  )
  alone = adapt.adapt(source, one_start, grid=(1, 3, 3))
  with jax.default_matmul_precision('highest'):
    clip = model.apply(
      {'params': names.unflatten(adapted.arrays)}, still(image), features=True
    )
    single = one.apply(
      {'params': names.unflatten(alone.arrays)}, image[:, None], features=True
    )
  scale = np.abs(single.tokens).max()
  for index in range(4):
    np.testing.assert_allclose(
      clip.tokens[:, index], single.tokens[:, 0], atol=2e-5 * scale
    )


def test_model_3_begins_as_the_image_model_on_every_frame():
  """Its temporal branch is silent, so each temporal index is an image."""
  with np.load(FIXTURES / 'image_vit' / 'golden.npz') as file:
    image = file['image']
  source = formats.read(IMAGE)
  name = 'model3_factorised_self_attention'
  model, start_values = fresh(name)
  adapted = adapt.adapt(source, start_values, grid=GRID)
  found = kinds(adapted)
  assert all('_time/' in n or 'output_projection' in n for n in found['fresh'])
  assert found['left over'] == ['cls']
  plain = {k: v for k, v in source.arrays.items() if k != 'cls'}
  positions = 'Transformer/posembed_input/pos_embedding'
  plain[positions] = plain[positions][:, 1:]
  one, one_start = fresh(
    'model1_joint',
    shape=(1, 1, 48, 48, 3),
    classifier='average',
    tubelet=(1, 16, 16),
  )
  alone = adapt.adapt(
    dataclasses.replace(source, arrays=plain), one_start, grid=(1, 3, 3)
  )
  frames = np.stack([image, image[::-1]] * 2, axis=1).repeat(2, axis=1)
  with jax.default_matmul_precision('highest'):
    clip = model.apply(
      {'params': names.unflatten(adapted.arrays)}, frames, features=True
    )
    single = one.apply(
      {'params': names.unflatten(alone.arrays)}, image[:, None], features=True
    )
  scale = np.abs(single.tokens).max()
  for index in range(4):
    expected = single.tokens[:, 0] if index % 2 == 0 else single.tokens[::-1, 0]
    np.testing.assert_allclose(
      clip.tokens[:, index], expected, atol=2e-5 * scale
    )


def test_the_image_model_starts_all_four():
  source = formats.read(IMAGE)
  for name in reference.MODELS:
    model, start_values = fresh(name)
    adapted = adapt.adapt(source, start_values, grid=GRID)
    kernel = adapted.arrays['embedding/kernel']
    np.testing.assert_array_equal(kernel[1], source.arrays['embedding/kernel'])
    assert not kernel[0].any()
    assert adapted.arrays.keys() == start_values.keys()
    model.apply({'params': names.unflatten(adapted.arrays)}, np.zeros(SHAPE))


def test_inflation_shares_the_kernel_among_the_frames():
  source = formats.read(IMAGE)
  _, start_values = fresh('model1_joint')
  adapted = adapt.adapt(source, start_values, grid=GRID, kernel='inflation')
  kernel = adapted.arrays['embedding/kernel']
  for frame in kernel:
    np.testing.assert_allclose(frame, source.arrays['embedding/kernel'] / 2)


@pytest.mark.parametrize(
  'name', ['model1_joint', 'model3_factorised_self_attention']
)
def test_other_frames_and_pixels_resize_the_positions(name):
  source = formats.read(FIXTURES / name)
  model, start_values = fresh(name, shape=(1, 12, 64, 32, 3))
  with pytest.raises(UserError, match='perhaps 1 x 6 x 6, 4 x 3 x 3.*init_gri'):
    adapt.adapt(source, start_values, grid=(6, 4, 2))
  source = dataclasses.replace(source, grid=GRID)  # as our own checkpoints do
  both = adapt.adapt(source, start_values, grid=(6, 4, 2))
  assert '4 -> 6 temporal' in both.table()
  _, start_values = fresh(name, shape=(1, 12, 48, 48, 3))
  found = kinds(adapt.adapt(source, start_values, grid=(6, 3, 3)))
  assert found['adapted'] == ['Transformer/posembed_input/pos_embedding']
  _, start_values = fresh(name, shape=(1, 8, 64, 32, 3))
  adapted = adapt.adapt(source, start_values, grid=(4, 4, 2))
  positions = adapted.arrays['Transformer/posembed_input/pos_embedding']
  token = positions.shape[1] - 32
  old = source.arrays['Transformer/posembed_input/pos_embedding']
  assert token == old.shape[1] - 36
  np.testing.assert_array_equal(positions[:, :token], old[:, :token])


def test_another_tubelet_gives_the_same_tokens_of_a_still_clip():
  source = formats.read(FIXTURES / 'model2_factorised_encoder')
  name = 'model2_factorised_encoder'
  _, start_values = fresh(name, tubelet=(4, 16, 16))
  adapted = adapt.adapt(source, start_values, grid=(2, 3, 3))
  old, new = (
    values['embedding/kernel'].sum(axis=0)
    for values in (source.arrays, adapted.arrays)
  )
  np.testing.assert_allclose(new, old, atol=1e-5)
  positions = 'TemporalTransformer/posembed_input/pos_embedding'
  assert adapted.arrays[positions].shape[1] == 3


def test_temporal_layers_come_and_go_with_their_reasons():
  source = formats.read(FIXTURES / 'model2_factorised_encoder')
  name = 'model2_factorised_encoder'
  _, start_values = fresh(name, temporal_layers=3)
  table = adapt.adapt(source, start_values, grid=GRID).table()
  assert 'fresh  TemporalTransformer/encoderblock_*' in table
  assert 'the source has fewer temporal layers' in table
  _, start_values = fresh(name, temporal_layers=0)
  adapted = adapt.adapt(source, start_values, grid=GRID)
  left = kinds(adapted)['left over']
  assert all('Temporal' in n for n in left) and 'the model averages' in (
    adapted.table()
  )


def test_an_array_that_nothing_explains_is_an_error_with_the_nearest():
  source = formats.read(FIXTURES / 'model1_joint')
  arrays = dict(source.arrays)
  name = 'Transformer/encoderblock_1/MlpBlock_0/Dense_0/kernel'
  arrays[name.replace('Dense_0', 'Dense_9')] = arrays.pop(name)
  broken = dataclasses.replace(source, arrays=arrays)
  _, start_values = fresh('model1_joint')
  with pytest.raises(UserError, match='Dense_0/kernel is missing.*Dense_9'):
    adapt.adapt(broken, start_values, grid=GRID)
  _, other = fresh('model3_factorised_self_attention')
  with pytest.raises(UserError, match='one video model cannot start another'):
    adapt.adapt(source, other, grid=GRID)


@pytest.mark.parametrize(
  ('name', 'changes', 'told'),
  [
    ('model1_joint', {'depth': 1}, 'layers 3 (the model 1)'),
    (
      'model1_joint',
      {'width': 24, 'depth': 2},
      'layers 3 (the model 2), width 48 (the model 24)',
    ),
  ],
)
def test_weights_of_another_size_are_one_sentence(name, changes, told):
  source = formats.read(FIXTURES / name)
  _, start_values = fresh(name, **changes)
  with pytest.raises(UserError) as caught:
    adapt.adapt(source, start_values, grid=GRID)
  sentence = str(caught.value)
  assert f'of another size: they have {told}: set model.size' in sentence
  assert 'Did you mean' not in sentence and sentence.count('. ') == 0


def test_a_config_starts_from_a_file_with_layers_stacked_or_not(capsys):
  config = configs.default()
  config.init_from = str(FIXTURES / 'model1_joint')
  config.model.family = 'joint'
  config.data.frames, config.data.crop = 8, (48, 48)
  found = []
  for scan in (False, True):
    config.model.scan = scan
    options = dataclasses.replace(reference.OPTIONS, scan=scan)
    model = reference.model('model1_joint', options)
    params = model.init(jax.random.key(0), np.zeros(SHAPE))['params']
    params = start.load(params, configs.resolve(config))
    found.append(stacking.unstack(params))
  jax.tree.map(np.testing.assert_array_equal, *found)
  expected = reference.parameters('model1_joint')
  jax.tree.map(np.testing.assert_array_equal, found[0], expected)
  assert 'loaded  56 arrays' in capsys.readouterr().out


@pytest.mark.parametrize(
  'count, mine, name, grid',
  [
    (3136, (16, 14, 14), 'Transformer', (16, 14, 14)),  # the model's own
    (3136, (8, 14, 14), 'Transformer', None),
    (3136, (16, 7, 7), 'Transformer', None),  # 64 x 7 x 7, or halved crops
    (196, (1, 20, 20), 'SpatialTransformer', (1, 14, 14)),  # a square
    (196, (1, 7, 28), 'SpatialTransformer', None),  # the model's own, or that
    (200, (1, 10, 20), 'SpatialTransformer', (1, 10, 20)),
    (200, (1, 14, 14), 'SpatialTransformer', None),
    (9, (16, 1, 1), 'TemporalTransformer', (9, 1, 1)),
  ],
)
def test_a_grid_is_concluded_or_asked_for(count, mine, name, grid):
  if grid is None:
    with pytest.raises(UserError, match='nothing tells of which grid.*init_gr'):
      fit._grid_of(count, mine, name, NO_GRID)
  else:
    assert fit._grid_of(count, mine, name, NO_GRID) == grid


def test_the_clip_of_another_tubelet_tells_the_grid():
  """16 x 14 x 14 of tubelets of 2 x 16 x 16 are 8 x 28 x 28 of 4 x 8 x 8."""
  found = fit._same_clip((8, 28, 28), (4, 8, 8), NO_GRID)
  assert found == (16, 14, 14)
  image = formats.Weights('', {'embedding/kernel': np.zeros((16, 16, 3, 4))})
  assert fit._same_clip((16, 14, 14), (2, 16, 16), image) == (16, 14, 14)


NO_GRID = formats.Weights('', {'embedding/kernel': np.zeros((2, 16, 16, 3, 4))})


def test_the_references_order_is_that_of_its_weights():
  name = 'model3_factorised_self_attention'
  source = formats.read(FIXTURES / name)
  _, start_values = fresh(name)
  family = 'factorised_self_attention'
  keys = {'grid': GRID, 'family': family}
  adapt.adapt(source, start_values, order='time_space', **keys)
  with pytest.raises(UserError, match="'time_space', and the model has 'space"):
    adapt.adapt(source, start_values, order='space_time', **keys)
  other = dataclasses.replace(source, order='space_time')
  adapt.adapt(other, start_values, order='space_time', **keys)


def test_the_grid_can_be_told(tmp_path):
  """The case of a checkpoint of 32 x 224 x 224 used at 32 x 448 x 448."""
  config = configs.default()
  config.init_from = str(FIXTURES / 'model1_joint')
  config.model.family = 'joint'
  config.data.frames, config.data.crop = 8, (96, 96)
  model = reference.model('model1_joint')
  shape = (1, 8, 96, 96, 3)
  params = model.init(jax.random.key(0), np.zeros(shape))['params']
  # 36 positions: 4 x 3 x 3, or 1 x 6 x 6.
  with pytest.raises(UserError, match='--config.init_grid='):
    start.load(params, configs.resolve(config))
  config.init_grid = GRID
  loaded = start.load(params, configs.resolve(config))
  path = ('Transformer', 'posembed_input', 'pos_embedding')
  trees = reference.parameters('model1_joint'), loaded
  old, new = (functools.reduce(lambda t, k: t[k], path, tree) for tree in trees)
  old = old[0, 1:].reshape(4, 3, 3, -1)
  new = np.asarray(new)[0, 1:].reshape(4, 6, 6, -1)
  # Doubled linearly: every column and row weighs as much as before.
  np.testing.assert_allclose(new.mean((1, 2)), old.mean((1, 2)), atol=1e-6)
  config.init_grid = (5, 3, 3)
  with pytest.raises(
    UserError, match='36 positions, and the grid 5 x 3 x 3 that is told has 45'
  ):
    start.load(params, configs.resolve(config))


def test_alike_arrays_of_another_model_are_refused_where_it_is_known():
  source = formats.read(FIXTURES / 'model4_factorised_dot_product')
  assert any('the same arrays' in note for note in source.notes)
  _, averaging = fresh('model1_joint', classifier='average')
  adapt.adapt(source, averaging, grid=GRID, family='joint')
  known = dataclasses.replace(
    source, model='factorised_dot_product', order='time_space'
  )
  with pytest.raises(UserError, match='one video model cannot start another'):
    adapt.adapt(known, averaging, grid=GRID, family='joint')
  family = 'factorised_dot_product'
  with pytest.raises(UserError, match="'time_space', and the model has 'space"):
    adapt.adapt(known, averaging, grid=GRID, family=family, order='space_time')
  adapt.adapt(known, averaging, grid=GRID, family=family, order='time_space')


CLASSES = {'label': [f'class {n}' for n in 'abcdefghijk']}


@pytest.mark.parametrize(
  'order, what, why',
  [
    (CLASSES, 'loaded', ''),
    ({'label': CLASSES['label'][::-1]}, 'adapted', 'in the order of the data'),
    ({'label': [*CLASSES['label'][:-1], 'z']}, 'fresh', "'class k' of head la"),
    ({'noun': CLASSES['label']}, 'fresh', 'another head: noun there'),
    ({}, 'loaded', ''),
  ],
)
def test_a_head_is_taken_over_if_its_classes_are_the_same(order, what, why):
  source = formats.read(FIXTURES / 'model1_joint')
  _, start_values = fresh('model1_joint')
  adapted = adapt.adapt(
    source, start_values, grid=GRID, class_order=order, label_names=CLASSES
  )
  name = 'output_projection/kernel'
  (row,) = [r for r in adapted.rows if r.name == name and r.what != 'left over']
  assert row.what == what and why in row.why
  expected = {
    'loaded': source.arrays[name],
    'adapted': source.arrays[name][:, ::-1],
    'fresh': start_values[name],
  }
  np.testing.assert_array_equal(adapted.arrays[name], expected[what])
  left = {row.name for row in adapted.rows if row.what == 'left over'}
  assert (name in left) == (what == 'fresh')


def test_a_head_behind_another_layer_is_left_fresh():
  """Its inputs would be another layer's outputs, of the same width here."""
  source = formats.read(FIXTURES / 'model1_joint')
  _, start_values = fresh('model1_joint', representation=48)
  found = kinds(adapt.adapt(source, start_values, grid=GRID))
  assert sorted(found['fresh']) == [
    'output_projection/bias',
    'output_projection/kernel',
    'pre_logits/bias',
    'pre_logits/kernel',
  ]


def test_positions_come_and_go_with_their_reasons():
  source = formats.read(FIXTURES / 'model1_joint')
  _, without = fresh('model1_joint', positions='sinusoidal_3d')
  adapted = adapt.adapt(source, without, grid=GRID)
  assert 'the model has no learned positions' in adapted.table()
  name = 'Transformer/posembed_input/pos_embedding'
  arrays = {n: a for n, a in source.arrays.items() if n != name}
  plain = dataclasses.replace(source, arrays=arrays)
  _, start_values = fresh('model1_joint')
  adapted = adapt.adapt(plain, start_values, grid=GRID)
  assert kinds(adapted)['fresh'] == [name]
  assert 'the source has no learned positions' in adapted.table()


def test_the_order_of_heads_is_that_of_the_class_order():
  """The reference has the nouns of Epic Kitchens first, or others the verbs."""
  source = formats.read(FIXTURES / 'model1_joint')
  _, start_values = fresh('model1_joint', heads={'noun': 5, 'verb': 6})
  nouns, verbs = [f'n{i}' for i in range(5)], [f'v{i}' for i in range(6)]
  wanted = {'noun': nouns, 'verb': verbs}
  name = 'output_projection/bias'
  old = source.arrays[name]
  for order, expected in (
    ({'noun': nouns, 'verb': verbs}, old),
    ({'verb': verbs, 'noun': nouns}, np.concatenate([old[6:], old[:6]])),
    ({'verb': verbs[::-1]}, np.concatenate([old[:5], old[5:][::-1]])),
  ):
    adapted = adapt.adapt(
      source, start_values, grid=GRID, class_order=order, label_names=wanted
    )
    np.testing.assert_array_equal(adapted.arrays[name], expected)


def test_an_image_models_head_is_not_two_heads():
  source = formats.read(IMAGE)
  heads = {'noun': 10, 'verb': 11}
  _, start_values = fresh('model1_joint', heads=heads)
  names_of = {h: [f'{h} {n}' for n in range(k)] for h, k in heads.items()}
  adapted = adapt.adapt(source, start_values, grid=GRID, label_names=names_of)
  assert 'one head there, several in the model' in adapted.table()
  assert not adapted.arrays['output_projection/kernel'].any()
