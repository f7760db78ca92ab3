"""Merging loads, resizes and refuses arrays, and accounts for all of them."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import reference
from flax import serialization

from vivit_jax import config as configs
from vivit_jax.checkpoints import load, merge, names, sources
from vivit_jax.errors import UserError
from vivit_jax.models import builder, classifier, stacking
from vivit_jax.models.family import AttentionPool, Target
from vivit_jax.models.weights import Weights

FIXTURES = reference.FIXTURES
IMAGE = FIXTURES / 'image_vit' / 'vision_transformer.npz'
GRID = (4, 3, 3)  # 8 x 48 x 48 in tubelets of 2 x 16 x 16
SHAPE = (1, 8, 48, 48, 3)


def target_of(name, frames=8, crop=(48, 48), kernel='central_frame', **changes):
  """Returns a fixture's model, with changes, as the target of a merge."""
  return Target(reference.config(name, **changes), frames, crop, kernel)


def blank(target):
  """Returns zeros in the shapes of a model's parameters, by flat names."""
  shapes = builder.shapes(target.model, target.frames, target.crop)
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return names.flatten(zeros)


def initial(target):
  """Returns a model's initial values by flat names."""
  clip = np.zeros((1, target.frames, *target.crop, 3), np.float32)
  init = builder.build(target.model).init
  return names.flatten(init(jax.random.key(0), clip)['params'])


def merged(source, target, start=blank, **names_of):
  return merge.merge(source, start(target), target, **names_of)


def applied(target, found, video, **keywords):
  """Returns what a model computes with merged arrays."""
  params = {'params': names.unflatten(found.arrays)}
  apply = functools.partial(builder.build(target.model).apply, **keywords)
  with jax.default_matmul_precision('highest'):
    return jax.jit(apply)(params, video)


@pytest.mark.parametrize('name', reference.MODELS)
def test_the_same_model_takes_every_array(name):
  source = sources.read(FIXTURES / name)
  whole = merged(source, target_of(name))
  assert {row.status for row in whole.rows} == {'loaded'}
  assert len(whole.rows) == len(source.arrays)
  for key, array in whole.arrays.items():
    np.testing.assert_array_equal(array, source.arrays[key])


def test_another_head_stays_fresh_and_the_rest_is_loaded():
  source = sources.read(FIXTURES / 'model1_joint')
  target = target_of('model1_joint', heads={'noun': 3, 'verb': 2})
  found = merged(source, target)
  heads = ['output_projection/bias', 'output_projection/kernel']
  assert sorted(found.names('fresh')) == heads
  assert len(found.names('loaded')) == len(blank(target)) - 2


def still(image):
  return np.repeat(image[:, None], 8, axis=1)


@pytest.mark.parametrize(
  'name, kernel',
  [('vision_transformer', 'central_frame'), ('big_vision', 'inflation')],
)
def test_a_still_clip_gives_the_image_models_own_feature(name, kernel):
  """For each temporal index, in Model 2's spatial encoder."""
  with np.load(FIXTURES / 'image_vit' / 'golden.npz') as file:
    golden = dict(file)
  target = target_of('model2_average_pooled', kernel=kernel)
  source = sources.read(FIXTURES / 'image_vit' / f'{name}.npz')
  found = merged(source, target)
  features = applied(target, found, still(golden['image']), features=True)
  expected = golden['cls_feature']
  np.testing.assert_allclose(
    features.pre_logits, expected, atol=2e-5 * np.abs(expected).max()
  )


@pytest.mark.parametrize('kernel', ['central_frame', 'inflation', 'random'])
def test_a_kernel_of_one_frame_is_that_of_an_image(kernel):
  image = sources.read(IMAGE)
  name = 'embedding/kernel'
  arrays = image.arrays | {name: image.arrays[name][None]}
  target = target_of('model1_joint', kernel=kernel)
  found, expected = (
    merged(source, target).arrays[name]
    for source in (dataclasses.replace(image, arrays=arrays), image)
  )
  np.testing.assert_array_equal(found, expected)
  if kernel == 'random':
    np.testing.assert_array_equal(found, blank(target)[name])
  else:
    np.testing.assert_allclose(found.sum(0), image.arrays[name], rtol=1e-6)


def without_token(source):
  """Returns an image ViT that averages instead."""
  arrays = {k: v for k, v in source.arrays.items() if k != 'cls'}
  positions = 'Transformer/posembed_input/pos_embedding'
  arrays[positions] = arrays[positions][:, 1:]
  return dataclasses.replace(source, arrays=arrays)


def check_each_index(clip, expected):
  """Compares the tokens of each temporal index."""
  scale = np.abs(expected).max()
  for index, tokens in enumerate(expected):
    np.testing.assert_allclose(clip.tokens[:, index], tokens, atol=2e-5 * scale)


ONE_FRAME = target_of(
  'model1_joint', frames=1, pool='mean', tubelet=(1, 16, 16)
)


def test_a_still_clip_through_model_1_begins_as_many_copies_of_the_image():
  """Attention over t copies of the patches weighs the class token less.

  Without a class token there is no such difference: keys repeated t times give
  the same average. So the statement is exact for the averaging model.
  """
  with np.load(FIXTURES / 'image_vit' / 'golden.npz') as file:
    image = file['image']
  source = without_token(sources.read(IMAGE))
  target = target_of('model1_joint', pool='mean')
  found, alone = merged(source, target), merged(source, ONE_FRAME)
  clip = applied(target, found, still(image), features=True)
  single = applied(ONE_FRAME, alone, image[:, None], features=True)
  check_each_index(clip, [single.tokens[:, 0]] * 4)


def test_model_3_begins_as_the_image_model_on_every_frame():
  """Its temporal branch is silent, so each temporal index is an image."""
  with np.load(FIXTURES / 'image_vit' / 'golden.npz') as file:
    image = file['image']
  source = sources.read(IMAGE)
  target = target_of('model3_factorised_self_attention')
  whole = merged(source, target, initial)
  fresh = whole.names('fresh')
  assert all('_time/' in n or 'output_projection' in n for n in fresh)
  assert whole.names('unused') == ['cls']
  alone = merged(without_token(source), ONE_FRAME)
  frames = np.stack([image, image[::-1]] * 2, axis=1).repeat(2, axis=1)
  clip = applied(target, whole, frames, features=True)
  single = applied(ONE_FRAME, alone, image[:, None], features=True)
  check_each_index(clip, [single.tokens[:, 0], single.tokens[::-1, 0]] * 2)


def test_an_image_model_initialises_all_four():
  source = sources.read(IMAGE)
  for name in reference.MODELS:
    target = target_of(name)
    found = merged(source, target)
    kernel = found.arrays['embedding/kernel']
    np.testing.assert_array_equal(kernel[1], source.arrays['embedding/kernel'])
    assert not kernel[0].any()
    assert found.arrays.keys() == blank(target).keys()


def test_inflation_shares_the_kernel_among_the_frames():
  source = sources.read(IMAGE)
  found = merged(source, target_of('model1_joint', kernel='inflation'))
  kernel = found.arrays['embedding/kernel']
  for frame in kernel:
    np.testing.assert_allclose(frame, source.arrays['embedding/kernel'] / 2)


POSITIONS = 'Transformer/posembed_input/pos_embedding'


@pytest.mark.parametrize(
  'name', ['model1_joint', 'model3_factorised_self_attention']
)
def test_other_frames_and_pixels_resize_the_positions(name):
  source = sources.read(FIXTURES / name)
  other = target_of(name, frames=12, crop=(64, 32))
  with pytest.raises(UserError, match='1 x 6 x 6, 4 x 3 x 3.*init_grid'):
    merged(source, other)
  source = dataclasses.replace(source, grid=GRID)  # as our own checkpoints do
  assert '4 -> 6' in merged(source, other).table()
  found = merged(source, target_of(name, crop=(64, 32)))
  assert found.names('adapted') == [POSITIONS]
  positions, old = found.arrays[POSITIONS], source.arrays[POSITIONS]
  token = positions.shape[1] - 32
  assert token == old.shape[1] - 36
  np.testing.assert_array_equal(positions[:, :token], old[:, :token])


def test_another_tubelet_gives_the_same_tokens_of_a_still_clip():
  name = 'model2_factorised_encoder'
  source = sources.read(FIXTURES / name)
  found = merged(source, target_of(name, tubelet=(4, 16, 16)))
  old, new = (
    values['embedding/kernel'].sum(axis=0)
    for values in (source.arrays, found.arrays)
  )
  np.testing.assert_allclose(new, old, atol=1e-5)
  positions = 'TemporalTransformer/posembed_input/pos_embedding'
  assert found.arrays[positions].shape[1] == 3


HEAD = ['output_projection/bias', 'output_projection/kernel']


@pytest.mark.parametrize(
  'name, changes, dropped, status, expected, reason',
  [
    ('model2_factorised_encoder', {'temporal_layers': 3}, '-', 'fresh',
     ['TemporalTransformer/encoderblock_2/'], 'fewer temporal layers'),
    ('model2_factorised_encoder', {'temporal_layers': 0}, '-', 'unused',
     ['TemporalTransformer', 'cls_TemporalTransformer'], 'averages over time'),
    ('model1_joint', {'positions': 'sinusoidal_3d'}, '-', 'unused',
     [POSITIONS], 'the model has no learned positions'),
    ('model1_joint', {}, POSITIONS, 'fresh',
     [POSITIONS], 'the checkpoint has no learned positions'),
    # The head's inputs would be another layer's outputs, of the same width.
    ('model1_joint', {'representation': 48}, '-', 'fresh',
     [*HEAD, 'pre_logits'], 'the layers before the head differ'),
  ],
)  # fmt: skip
def test_arrays_come_and_go_with_their_reasons(
  name, changes, dropped, status, expected, reason
):
  source = sources.read(FIXTURES / name)
  arrays = {n: a for n, a in source.arrays.items() if n != dropped}
  source = dataclasses.replace(source, arrays=arrays)
  found = merged(source, target_of(name, **changes))
  rows = [row for row in found.rows if row.status == status]
  assert rows and all(row.name.startswith(tuple(expected)) for row in rows)
  assert any(reason in row.reason for row in rows)


def test_arrays_that_nothing_explains_are_named_with_the_nearest():
  source = sources.read(FIXTURES / 'model1_joint')
  arrays = dict(source.arrays)
  name = 'Transformer/encoderblock_1/MlpBlock_0/Dense_0/kernel'
  arrays[name.replace('Dense_0', 'Dense_9')] = arrays.pop(name)
  broken = dataclasses.replace(source, arrays=arrays)
  with pytest.raises(UserError, match=f'{name} .*Dense_9'):
    merged(broken, target_of('model1_joint'))


def test_weights_of_another_size_are_refused_by_sizes():
  source = sources.read(FIXTURES / 'model1_joint')
  with pytest.raises(UserError, match='model.size') as caught:
    merged(source, target_of('model1_joint', width=24, layers=2))
  for size in ('layers=3 (the model 2)', 'width=48 (the model 24)'):
    assert size in str(caught.value)


def test_a_config_starts_from_a_file_with_layers_stacked_or_not(capsys):
  config = configs.default('joint')
  config.init_from = str(FIXTURES / 'model1_joint')
  config.data.frames, config.data.crop = 8, (48, 48)
  found = []
  for scan in (False, True):
    config.model.scan = scan
    model = reference.model('model1_joint', scan=scan)
    params = jax.eval_shape(model.init, jax.random.key(0), np.zeros(SHAPE))
    params = jax.tree.map(lambda x: np.zeros(x.shape), params['params'])
    params = load.initialise(params, configs.resolve(config))
    found.append(stacking.unstack(params))
  jax.tree.map(np.testing.assert_array_equal, *found)
  expected = reference.parameters('model1_joint')
  jax.tree.map(np.testing.assert_array_equal, found[0], expected)
  assert '56 arrays' in capsys.readouterr().out


def test_the_grid_can_be_set():
  """The case of a checkpoint of 32 x 224 x 224 used at 32 x 448 x 448."""
  config = configs.default('joint')
  config.init_from = str(FIXTURES / 'model1_joint')
  config.data.frames, config.data.crop = 8, (96, 96)
  model = reference.model('model1_joint')
  clip = np.zeros((1, 8, 96, 96, 3))
  params = jax.eval_shape(model.init, jax.random.key(0), clip)['params']
  params = jax.tree.map(lambda x: np.zeros(x.shape), params)
  # 36 positions: 4 x 3 x 3, or 1 x 6 x 6.
  with pytest.raises(UserError, match='--config.init_grid='):
    load.initialise(params, configs.resolve(config))
  config.init_grid = GRID
  loaded = load.initialise(params, configs.resolve(config))
  path = ('Transformer', 'posembed_input', 'pos_embedding')
  trees = reference.parameters('model1_joint'), loaded
  old, new = (functools.reduce(lambda t, k: t[k], path, tree) for tree in trees)
  old = old[0, 1:].reshape(4, 3, 3, -1)
  new = np.asarray(new)[0, 1:].reshape(4, 6, 6, -1)
  # Doubled linearly: every column and row weighs as much as before.
  np.testing.assert_allclose(new.mean((1, 2)), old.mean((1, 2)), atol=1e-6)
  config.init_grid = (5, 3, 3)
  with pytest.raises(UserError, match='36 .*5 x 3 x 3 .*45.*init_grid'):
    load.initialise(params, configs.resolve(config))


@pytest.mark.parametrize(
  'name', ['model3_factorised_self_attention', 'model4_factorised_dot_product']
)
def test_the_references_order_is_that_of_its_weights(name):
  source = sources.read(FIXTURES / name)
  merged(source, target_of(name, order='time_space'))
  with pytest.raises(UserError, match='model.options.order'):
    merged(source, target_of(name, order='space_time'))
  other = dataclasses.replace(source, options={'order': 'space_time'})
  merged(other, target_of(name, order='space_time'))


def test_another_video_model_is_refused_if_the_source_states_it():
  source = sources.read(FIXTURES / 'model4_factorised_dot_product')
  assert any('model.family' in note for note in source.notes)
  averaging = target_of('model1_joint', pool='mean')
  merged(source, averaging)
  known = dataclasses.replace(source, models=('factorised_dot_product',))
  with pytest.raises(UserError, match='model.family'):
    merged(known, averaging)


CLASSES = {'label': [f'class {n}' for n in 'abcdefghijk']}


@pytest.mark.parametrize(
  'order, status, reason',
  [
    (CLASSES, 'loaded', ''),
    ({'label': CLASSES['label'][::-1]}, 'adapted', 'order'),
    ({'label': [*CLASSES['label'][:-1], 'z']}, 'fresh', "'class k'"),
    ({'noun': CLASSES['label']}, 'fresh', 'noun'),
    ({}, 'loaded', ''),
  ],
)
def test_a_head_is_loaded_if_its_classes_are_the_same(order, status, reason):
  source = sources.read(FIXTURES / 'model1_joint')
  target = target_of('model1_joint')
  found = merged(source, target, class_order=order, label_names=CLASSES)
  name = 'output_projection/kernel'
  (row,) = [r for r in found.rows if r.name == name and r.status != 'unused']
  assert row.status == status and reason in row.reason
  expected = {
    'loaded': source.arrays[name],
    'adapted': source.arrays[name][:, ::-1],
    'fresh': np.zeros((48, 11)),
  }
  np.testing.assert_array_equal(found.arrays[name], expected[status])
  assert (name in found.names('unused')) == (status == 'fresh')


def test_heads_are_ordered_by_the_class_order():
  """The reference has the nouns of Epic Kitchens first, or others the verbs."""
  source = sources.read(FIXTURES / 'model1_joint')
  target = target_of('model1_joint', heads={'noun': 5, 'verb': 6})
  nouns, verbs = [f'n{i}' for i in range(5)], [f'v{i}' for i in range(6)]
  wanted = {'noun': nouns, 'verb': verbs}
  name = 'output_projection/bias'
  old = source.arrays[name]
  for order, expected in (
    ({'noun': nouns, 'verb': verbs}, old),
    ({'verb': verbs, 'noun': nouns}, np.concatenate([old[6:], old[:6]])),
    ({'verb': verbs[::-1]}, np.concatenate([old[:5], old[5:][::-1]])),
  ):
    found = merged(source, target, class_order=order, label_names=wanted)
    np.testing.assert_array_equal(found.arrays[name], expected)


def test_an_image_models_head_is_not_two_heads():
  source = sources.read(IMAGE)
  heads = {'noun': 10, 'verb': 11}
  names_of = {h: [f'{h} {n}' for n in range(k)] for h, k in heads.items()}
  target = target_of('model1_joint', heads=heads)
  found = merged(source, target, label_names=names_of)
  assert set(found.names('fresh')) >= {'output_projection/kernel'}
  assert not found.arrays['output_projection/kernel'].any()


def test_the_account_notes_options_that_differ_from_training():
  source = sources.read(FIXTURES / 'model1_joint')
  target = target_of('model1_joint')
  assert not merged(source, target).notes
  options = {'gelu': 'exact', 'norm_epsilon': 1e-12}
  source = dataclasses.replace(source, options=options)
  found = merged(source, target)
  gelu, epsilon = found.notes
  assert 'gelu exact' in gelu and 'tanh' in gelu
  assert 'norm_epsilon 1e-12' in epsilon and '1e-06' in epsilon
  assert all(f'note  {note}' in found.table() for note in found.notes)
  assert not merged(source, target_of('model1_joint', **options)).notes


def test_the_grid_is_inferred_with_uniform_frames_too():
  """The kernel spans one frame, but a token stands for a whole tubelet."""
  changes = {'embedding': 'uniform_frames', 'pool': 'token'}
  target = target_of('model1_joint', **changes)
  arrays = blank(target)
  assert arrays['embedding/kernel'].shape[0] == 1
  source = Weights('', arrays, ('joint',))
  found = merged(source, target)
  assert {row.status for row in found.rows} == {'loaded'}


@pytest.mark.parametrize('name', ['model1_joint', 'model2_average_pooled'])
def test_a_kernel_of_four_axes_is_read_as_the_model_needs_it(name, tmp_path):
  """It may be an image ViT's, or of scenic's uniform frame sampling."""
  changes = {'embedding': 'uniform_frames'}
  target = target_of(name, **changes)
  draw = np.random.default_rng(0)
  arrays = {
    key: draw.normal(size=x.shape).astype(np.float32)
    for key, x in blank(target).items()
  }
  scenic = arrays | {'embedding/kernel': arrays['embedding/kernel'][0]}
  content = {'params': names.unflatten(scenic)}
  (tmp_path / 'checkpoint').write_bytes(
    serialization.msgpack_serialize(content)
  )
  source = sources.read(tmp_path / 'checkpoint')
  found = merged(source, target)
  for key, array in arrays.items():
    np.testing.assert_array_equal(found.arrays[key], array)
  if name == 'model1_joint':  # of tubelets, it may be an image's
    assert list(source.models) == ['image ViT']
    # What the user states of it (init_options) is kept.
    source = dataclasses.replace(source, options={'gelu': 'exact'})
    assert 'gelu exact' in merged(source, target).table()


def attention_pool(width=48, mlp=96, heads=4):
  """Returns random arrays in the names and shapes of big_vision's MAPHead."""
  attention, part = 'MultiHeadDotProductAttention_0', width // heads
  shapes = {
    'probe': (1, 1, width),
    f'{attention}/out/kernel': (heads, part, width),
    f'{attention}/out/bias': (width,),
    'LayerNorm_0/scale': (width,),
    'LayerNorm_0/bias': (width,),
    'MlpBlock_0/Dense_0/kernel': (width, mlp),
    'MlpBlock_0/Dense_0/bias': (mlp,),
    'MlpBlock_0/Dense_1/kernel': (mlp, width),
    'MlpBlock_0/Dense_1/bias': (width,),
  }
  for name in ('query', 'key', 'value'):
    shapes[f'{attention}/{name}/kernel'] = (width, heads, part)
    shapes[f'{attention}/{name}/bias'] = (heads, part)
  draw = np.random.default_rng(0)
  return {
    f'MAPHead_0/{name}': draw.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


@pytest.mark.parametrize('name', ['model1_joint', 'model2_average_pooled'])
def test_the_attention_pool_of_an_image_model_is_loaded(tmp_path, name):
  with np.load(FIXTURES / 'image_vit' / 'big_vision.npz') as file:
    arrays = {k: array for k, array in file.items() if k != 'params/cls'}
  arrays |= {f'params/{k}': array for k, array in attention_pool().items()}
  np.savez(tmp_path / 'siglip.npz', **arrays)
  source = sources.read(tmp_path / 'siglip.npz')
  target = target_of(name, heads={'label': 21}, pool='attention')
  found = merged(source, target)
  for key, array in attention_pool().items():
    np.testing.assert_array_equal(found.arrays[key], array)
  mine = {key for key in blank(target) if key.startswith('MAPHead_0/')}
  assert mine == attention_pool().keys()
  assert not found.names('unused')
  head = {'output_projection/kernel', 'output_projection/bias'}
  assert head <= set(found.names('loaded'))  # the same layers are before it
  averaging = merged(source, target_of(name, heads={'label': 21}, pool='mean'))
  assert set(averaging.names('unused')) == attention_pool().keys() | head
  assert head <= set(averaging.names('fresh'))


def form(name, **keys):
  """Returns a model that pools by attention in a form."""
  pool = AttentionPool(form=name, **keys)
  heads = {'label': 21}
  return target_of(
    'model1_joint', heads=heads, pool='attention', attention_pool=pool
  )


@pytest.mark.parametrize('theirs, ours', [
  (form('videoprism'), form('videoglue')),
  (form('vjepa', blocks=2), form('vjepa', blocks=1)),
  (form('videoprism', widening=2), form('videoprism')),
])  # fmt: skip
def test_a_pool_and_its_head_are_loaded_whole_or_not_at_all(theirs, ours):
  arrays = {name: x + 1 for name, x in blank(theirs).items()}
  source = Weights('a run', arrays, ('joint',))
  found = merged(source, ours)
  own = {name for name in blank(ours) if classifier.is_own(name)}
  assert set(found.names('fresh')) == own
  assert set(found.names('loaded')) == blank(ours).keys() - own
  same = merged(source, theirs)
  assert set(same.names('loaded')) == arrays.keys()


@pytest.mark.parametrize('keys', [
  {'epsilon': 1e-2}, {'heads': 2}, {'unit': True}
])  # fmt: skip
def test_other_settings_of_a_runs_pool_are_named(keys):
  trained, (key,) = form('videoprism'), keys
  source = Weights(
    'a run',
    blank(trained),
    ('joint',),
    pool=builder.pool_settings(trained.model),
  )
  assert merge.differences(source, trained) == []
  (difference,) = merge.differences(source, form('videoprism', **keys))
  assert f'model.attention_pool.{key}' in difference
