"""Files of other projects give their outputs; hostile files are refused."""

import dataclasses
import io
import json
import math
import os
import pickle
import shutil
import struct
import zipfile

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
import reference
import torch_pickles
from flax import serialization
from safetensors.numpy import load_file, save_file

from vivit_jax import config as configs
from vivit_jax.checkpoints import convert, load, names, sources
from vivit_jax.errors import UserError
from vivit_jax.models import blocks
from vivit_jax.models.vivit import huggingface
from vivit_jax.models.weights import Clip

FIXTURES = reference.FIXTURES
NPZ = FIXTURES / 'image_vit'
HUGGING = FIXTURES / 'huggingface_vivit'


@pytest.mark.parametrize('name', reference.MODELS)
def test_scenic_in_all_three_layouts(name):
  weights = sources.read(FIXTURES / name / 'checkpoint')
  expected = names.flatten(reference.parameters(name))
  assert weights.arrays.keys() == expected.keys()
  for key, array in weights.arrays.items():
    np.testing.assert_array_equal(array, expected[key])
  assert reference.MODELS[name][0] in weights.models
  again = sources.read(FIXTURES / name)  # the folder will do as well
  assert again.arrays.keys() == expected.keys()


def test_hugging_faces_vivit_gives_its_logits_and_hidden_states():
  with np.load(HUGGING / 'golden.npz', allow_pickle=False) as file:
    golden = dict(file)
  loaded = load.load(HUGGING)
  assert loaded.label_names == {'label': [f'LABEL_{n}' for n in range(7)]}
  options = loaded.config.model.options
  assert (options.gelu, options.norm_epsilon) == ('tanh', 1e-6)
  hidden = []

  def spy(next_call, arguments, keywords, context):
    out = next_call(*arguments, **keywords)
    block = isinstance(context.module, blocks.EncoderBlock)
    if block and context.method_name == '__call__':
      hidden[:] = hidden or [arguments[0]]
      hidden.append(reference.joined(out))
    return out

  with jax.default_matmul_precision('highest'):
    with blocks.nn.intercept_methods(spy):
      logits = loaded.model.apply({'params': loaded.params}, golden['video'])
  logits = logits['label']
  scale = np.abs(golden['logits']).max()
  np.testing.assert_allclose(logits, golden['logits'], atol=2e-5 * scale)
  assert len(hidden) == 3
  for number, found in enumerate(hidden):
    expected = golden[f'hidden_{number}']
    np.testing.assert_allclose(
      found, expected, atol=2e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize('name', ['vision_transformer', 'big_vision'])
def test_image_vits_give_their_features_and_logits(name):
  """As Model 1 of one frame with tubelets of one frame."""
  with np.load(NPZ / 'golden.npz', allow_pickle=False) as file:
    golden = dict(file)
  weights = sources.read(NPZ / f'{name}.npz')
  assert weights.models == ('image ViT',) and name in weights.format
  arrays = dict(weights.arrays)
  arrays['embedding/kernel'] = arrays['embedding/kernel'][None]
  model = reference.model(
    'model1_joint', heads={'label': 21}, tubelet=(1, 16, 16)
  )
  params = {'params': names.unflatten(arrays)}
  video = golden['image'][:, None]
  with jax.default_matmul_precision('highest'):
    features = model.apply(params, video, features=True).pre_logits
    logits = model.apply(params, video)['label']
  for found, expected in (
    (features, golden['cls_feature']),
    (logits, golden['logits']),
  ):
    np.testing.assert_allclose(
      found, expected, atol=2e-5 * np.abs(expected).max()
    )


def test_prefixes_and_stacked_layers_of_npz(tmp_path):
  with np.load(NPZ / 'vision_transformer.npz', allow_pickle=False) as file:
    plain = dict(file)
  expected = sources.read(NPZ / 'vision_transformer.npz').arrays
  np.savez(
    tmp_path / 'a.npz', **{f'opt/target/{k}': v for k, v in plain.items()}
  )
  with np.load(NPZ / 'big_vision.npz', allow_pickle=False) as file:
    other = dict(file)
  stacked = {k: v for k, v in other.items() if 'encoderblock' not in k}
  first = 'params/Transformer/encoderblock_0/'
  for key in other:
    if key.startswith(first):
      parts = [other[key.replace('_0/', f'_{n}/', 1)] for n in range(3)]
      stacked[key.replace('encoderblock_0', 'encoderblock')] = np.stack(parts)
  np.savez(tmp_path / 'b.npz', **stacked)
  for name in 'ab':
    found = sources.read(tmp_path / f'{name}.npz').arrays
    assert found.keys() == expected.keys()
  block = 'Transformer/encoderblock_2/MlpBlock_0/Dense_0/kernel'
  np.testing.assert_array_equal(found[block], expected[block])


# Modules of a block and of a whole timm ViT -> ours.
TIMM_BLOCK = {
  'norm1': 'LayerNorm_0',
  'norm2': 'LayerNorm_1',
  'attn.proj': 'MultiHeadDotProductAttention_0/out',
  'mlp.fc1': 'MlpBlock_0/Dense_0',
  'mlp.fc2': 'MlpBlock_0/Dense_1',
}
TIMM = {'norm': 'Transformer/encoder_norm', 'head': 'output_projection'} | {
  f'blocks.{n}.{theirs}': f'Transformer/encoderblock_{n}/{ours}'
  for n in range(3)
  for theirs, ours in TIMM_BLOCK.items()
}


def timm(expected):
  """Returns a timm file's tensors, made by hand."""
  tensors = {
    'cls_token': expected['cls'],
    'pos_embed': expected['Transformer/posembed_input/pos_embedding'],
    'patch_embed.proj.weight': expected['embedding/kernel'].transpose(
      3, 2, 0, 1
    ),
    'patch_embed.proj.bias': expected['embedding/bias'],
  }
  for theirs, ours in TIMM.items():
    tensors[f'{theirs}.bias'] = expected[f'{ours}/bias']
    if f'{ours}/scale' in expected:
      tensors[f'{theirs}.weight'] = expected[f'{ours}/scale']
    else:
      kernel = expected[f'{ours}/kernel']
      tensors[f'{theirs}.weight'] = kernel.reshape(-1, kernel.shape[-1]).T
  for n in range(3):
    attention = f'Transformer/encoderblock_{n}/MultiHeadDotProductAttention_0'
    parts = [f'{attention}/{part}' for part in ('query', 'key', 'value')]
    kernels = [expected[f'{part}/kernel'] for part in parts]
    tensors[f'blocks.{n}.attn.qkv.weight'] = np.concatenate(
      [kernel.reshape(len(kernel), -1).T for kernel in kernels]
    )
    tensors[f'blocks.{n}.attn.qkv.bias'] = np.concatenate(
      [expected[f'{part}/bias'].reshape(-1) for part in parts]
    )
  return {k: np.ascontiguousarray(v) for k, v in tensors.items()}


def test_timm_stacks_query_key_and_value(tmp_path):
  """A timm file made of the npz by hand reads as the npz does."""
  wide = {}  # three heads of 64
  plain = sources.read(NPZ / 'vision_transformer.npz').arrays
  for name, array in plain.items():
    if 'MultiHead' in name:
      array = np.random.default_rng(len(name)).normal(
        size=[{48: 192, 4: 3, 12: 64}[side] for side in array.shape]
      )
    wide[name] = array.astype(np.float32)
  path = tmp_path / 'model.safetensors'
  save_file(timm(wide), path)
  released = tmp_path / 'jx' / 'jx_vit_small.pth'  # of timm in 2020
  released.parent.mkdir()
  torch_pickles.save(released, timm(wide))
  found = sources.read(released)
  assert found.models == ('image ViT',) and found.arrays.keys() == wide.keys()
  for name, array in found.arrays.items():
    np.testing.assert_array_equal(array, wide[name], err_msg=name)
  # A lone file, timm's own folder, and beside a model of Hugging Face's.
  for config in (None, {'architecture': 'vit_tiny'}, {'model_type': 'vivit'}):
    if config is not None:
      (tmp_path / 'config.json').write_text(json.dumps(config))
    found = sources.read(path)
    assert 'timm' in found.format and found.arrays.keys() == wide.keys()
    for name, array in found.arrays.items():
      np.testing.assert_array_equal(array, wide[name], err_msg=name)
  assert 'timm' in sources.read(tmp_path).format
  # A width of which timm has no ViT does not tell the number of heads.
  odd = {
    'blocks.0.attn.qkv.weight': np.zeros((3 * 200, 200), np.float32),
    'pos_embed': np.zeros((1, 5, 200), np.float32),
  }
  save_file(odd, path)
  with pytest.raises(UserError, match='200'):
    sources.read(path)
  (tmp_path / 'config.json').write_text('{"num_heads": 4}')
  layer = np.random.default_rng(0).normal(size=(48, 48)).astype(np.float32)
  extra = {'pre_logits.fc.weight': layer, 'pre_logits.fc.bias': layer[0]}
  save_file(timm(plain) | extra, path)  # as timm's of ImageNet-21k
  found = sources.read(path).arrays
  expected = plain | {'pre_logits/kernel': layer.T, 'pre_logits/bias': layer[0]}
  assert found.keys() == expected.keys()
  for name, array in found.items():
    np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_named_file_is_read_and_not_its_neighbour(hugging_face):
  folder = hugging_face()
  tensors = load_file(folder / 'model.safetensors')
  tensors['classifier.bias'] = tensors['classifier.bias'] + 1
  save_file(tensors, folder / 'finetuned.safetensors')
  one, other = (
    sources.read(folder / name).arrays['output_projection/bias']
    for name in ('model.safetensors', 'finetuned.safetensors')
  )
  np.testing.assert_array_equal(other, one + 1)


def test_bfloat16_of_npz_is_read_as_what_it_is(tmp_path):
  with np.load(NPZ / 'vision_transformer.npz', allow_pickle=False) as file:
    plain = dict(file)
  half = {k: v.astype(jnp.bfloat16) for k, v in plain.items()}
  np.savez(tmp_path / 'a.npz', **half)
  found = sources.read(tmp_path / 'a.npz').arrays
  whole = sources.read(NPZ / 'vision_transformer.npz').arrays
  for name, array in whole.items():
    expected = array.astype(jnp.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(found[name].astype(np.float32), expected)


def exported(weights, folder, clip):
  convert._write_hugging_face(huggingface.write(weights, clip), folder)


def test_a_round_trip_through_hugging_face_keeps_every_bit(tmp_path):
  weights = sources.read(FIXTURES / 'model1_joint')
  weights = dataclasses.replace(
    weights, label_names={'label': [f'class {n}' for n in range(11)]}
  )
  exported(weights, tmp_path / 'out', Clip(8, (48, 48), 56))
  again = sources.read(tmp_path / 'out')
  assert again.arrays.keys() == weights.arrays.keys()
  for name, array in again.arrays.items():
    np.testing.assert_array_equal(array, weights.arrays[name])
  assert again.label_names['label'][10] == 'class 10'
  assert not list(tmp_path.glob('.*'))
  original = load_file(HUGGING / 'model.safetensors')
  other = sources.read(HUGGING)
  exported(other, tmp_path / 'back', Clip(8, (32, 32), 32))
  written = load_file(tmp_path / 'back' / 'model.safetensors')
  assert written.keys() == original.keys()
  for name, array in written.items():
    np.testing.assert_array_equal(array, original[name])


def npz_of(header: bytes, body: bytes) -> bytes:
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
    length = struct.pack('<H', len(header))
    archive.writestr(
      'embedding/kernel.npy', b'\x93NUMPY\x01\x00' + length + header + body
    )
  return stream.getvalue()


def safetensors_of(header: dict, body: bytes = b'') -> bytes:
  text = json.dumps(header).encode()
  return struct.pack('<Q', len(text)) + text + body


def objects() -> bytes:
  stream = io.BytesIO()
  np.savez(stream, **{'embedding/kernel': np.array([{'x': 1}], dtype=object)})
  return stream.getvalue()


def deep(levels: int) -> bytes:
  return b'\x81\xa1a' * levels + b'\x80'


HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }"
HOSTILE = {
  'empty': b'',
  'text': b'hello, this is a text',
  'pickle': pickle.dumps({'a': 1}),
  'pickled npz': objects(),
  'absurd npz': npz_of(HEADER % b'999999999999', b'1234'),
  'negative npz': npz_of(HEADER % b'-1, -1', b'1234'),
  'zip bomb': npz_of(HEADER % b'25000000', bytes(100_000_000)),
  'other npz': npz_of(HEADER % b'1', bytes(4)).replace(b'embed', b'embod'),
  'code in npz': npz_of(b"{'descr': __import__('os').system('false')}", b''),
  'cut npz': (NPZ / 'big_vision.npz').read_bytes()[:200_000],
  'cut msgpack': (FIXTURES / 'model1_joint' / 'checkpoint').read_bytes()[:9000],
  'deep msgpack': deep(100_000),
  'nested msgpack': b'\x81\xa6params' + deep(200),
  'huge msgpack': b'\x81\xa6params\xc6\xff\xff\xff\xff1234',
  'other msgpack': msgpack.packb({'weights': 3}),
  'huge header': struct.pack('<Q', 1 << 60) + b'{' + bytes(50),
  'absurd safetensors': safetensors_of(
    {'a': {'dtype': 'F32', 'shape': [1 << 40], 'data_offsets': [0, 1 << 42]}}
  ),
  'other safetensors': safetensors_of(
    {'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}}, bytes(4)
  ),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_and_broken_files_are_refused_in_one_line(tmp_path, name):
  (tmp_path / 'file').write_bytes(HOSTILE[name])
  with pytest.raises(UserError, match='checkpoint|file') as caught:
    sources.read(tmp_path / 'file')
  assert '\n' not in str(caught.value)


def scenic(path, params):
  content = {'params': names.unflatten(params)}
  path.write_bytes(serialization.msgpack_serialize(content))


POSITIONS = 'Transformer/posembed_input/pos_embedding'
BLOCK = 'Transformer/encoderblock_1/'


@pytest.mark.parametrize(
  'name, array',
  [
    ('embedding/kernel', np.float32(3)),
    ('embedding/kernel', np.zeros((16, 3, 48), np.float32)),
    (POSITIONS, np.zeros(48, np.float32)),
    (POSITIONS, np.zeros((1, 37, 24), np.float32)),
    ('output_projection/bias', np.zeros(11, np.int32)),
    ('output_projection/bias', np.zeros(0, np.float32)),
    (f'{BLOCK}LayerNorm_0/scale', None),
    (f'{BLOCK}MlpBlock_0/Dense_0/kernel', np.zeros(96, np.float32)),
    ('Transformer/encoderblock_99999999999/x', np.ones(48, np.float32)),
    ('Transformer/encoder_norm/scale', np.ones(5, np.float32)),
  ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(tmp_path, name, array):
  """By the reader, or when they are merged into a model."""
  arrays = names.flatten(reference.parameters('model1_joint')) | {name: array}
  arrays = {name: x for name, x in arrays.items() if x is not None}
  scenic(tmp_path / 'file', arrays)
  config = configs.default('joint')
  config.model.options.update(layers=3, **reference.SIZE)
  config.data.frames, config.data.crop = 8, (48, 48)
  named = 'layers' if '99999' in name else name
  with pytest.raises(UserError, match=named):
    load.load(tmp_path / 'file', config=config)


def test_no_attention_is_no_transformer(tmp_path):
  kernel = np.zeros((2, 16, 16, 3, 4), np.float32)
  scenic(tmp_path / 'file', {'embedding/kernel': kernel})
  with pytest.raises(UserError, match='file'):
    sources.read(tmp_path / 'file')


def test_msgpack_is_not_taken_for_safetensors(tmp_path):
  """Their mark is a { in byte 8, which the step's low byte may be here."""
  arrays = names.flatten(reference.parameters('model1_joint'))
  scenic(tmp_path / 'file', arrays)
  content = (tmp_path / 'file').read_bytes()
  step = b'\x82\xa4step\xcd\x01{'  # {'step': 379, ...
  (tmp_path / 'file').write_bytes(step + content[1:])
  assert sources.read(tmp_path / 'file').arrays.keys() == arrays.keys()


def test_a_compressed_npz_with_a_zero_head_is_read(tmp_path):
  """Zeros compress a thousandfold, as those of a fresh head."""
  with np.load(NPZ / 'vision_transformer.npz', allow_pickle=False) as file:
    plain = dict(file)
  plain['head/kernel'] = np.zeros((48, 50_000), np.float32)
  plain['head/bias'] = np.zeros(50_000, np.float32)
  np.savez_compressed(tmp_path / 'a.npz', **plain)
  found = sources.read(tmp_path / 'a.npz').arrays
  assert found['output_projection/kernel'].shape == (48, 50_000)


def test_activation_and_epsilon_of_hugging_face_become_options(hugging_face):
  folder = hugging_face(hidden_act='gelu', layer_norm_eps=1e-12)
  said = []
  options = load.load(folder, say=said.append).config.model.options
  assert (options.gelu, options.norm_epsilon) == ('exact', 1e-12)
  assert options.layers == 2 and options.width == 48
  assert 'trained with' not in ''.join(said)


@pytest.mark.parametrize(
  'changes, why',
  [
    ({'hidden_act': 'relu'}, "hidden_act 'relu'"),
    ({'num_attention_heads': True}, 'num_attention_heads'),
    ({'hidden_size': 50}, 'width of 50'),
    ({'num_frames': 7}, 'data.frames'),
    ({'num_frames': None}, '--config'),
    ({'tubelet_size': 16}, 'config.json'),
    ({'tubelet_size': [0, 16, 16]}, 'tubelet'),
  ],
)
def test_hugging_face_models_that_cannot_be_built(hugging_face, changes, why):
  with pytest.raises(UserError, match=why):
    load.load(hugging_face(**changes))


@pytest.mark.parametrize(
  'preprocessor, mean, std',
  [
    (None, 0.5, 0.5),
    ({'do_normalize': True, 'image_mean': [0.5] * 3}, 0.5, 0.5),  # as released
    ({'offset': True, 'do_normalize': False}, 0.5, 0.5),
    ({'offset': True, 'rescale_factor': 1 / 127.5}, 0.75, 0.25),
    ({'offset': False, 'do_normalize': False}, 0.0, 0.5),
    ({'offset': False, 'rescale_factor': 1 / 127.5, 'image_mean': [0.8] * 3,
      'image_std': [0.4] * 3}, 0.4, 0.2),
    ({'offset': True, 'do_rescale': False, 'image_mean': [102] * 3,
      'image_std': [51] * 3}, 0.4, 0.2),
  ],
)  # fmt: skip
def test_pixels_of_a_preprocessor(hugging_face, preprocessor, mean, std):
  """By hand: (255 x * rescale_factor - offset - mean) / std."""
  folder = hugging_face(preprocessor=preprocessor)
  data = sources.read(folder).experiment['data']
  np.testing.assert_allclose(data['mean'], [mean] * 3)
  np.testing.assert_allclose(data['std'], [std] * 3)
  assert data['short_side'] == 256


@pytest.mark.parametrize(
  'problem, heads',
  [('multi_label_classification', ['label']), (None, [])],
)
def test_a_multi_label_problem_has_a_multi_label_head(
  hugging_face, problem, heads
):
  loaded = load.load(hugging_face(problem_type=problem))
  assert list(loaded.multi_label) == heads


def test_exact_gelus_and_epsilons_of_hugging_face_by_hand(hugging_face):
  """Every MLP and norm of the loaded model against NumPy."""
  folder = hugging_face(hidden_act='gelu', layer_norm_eps=0.1)
  loaded = load.load(folder)
  video = np.load(HUGGING / 'golden.npz')['video']
  calls = []

  def spy(next_call, arguments, keywords, context):
    out = next_call(*arguments, **keywords)
    module = context.module
    kinds = blocks.MlpBlock, blocks.nn.LayerNorm
    if isinstance(module, kinds) and context.method_name == '__call__':
      weights = loaded.params
      for part in module.path:
        weights = weights[part]
      calls.append((weights, np.asarray(arguments[0], np.float64), out))
    return out

  with jax.default_matmul_precision('highest'):
    with blocks.nn.intercept_methods(spy):
      loaded.model.apply({'params': loaded.stacked}, video)
  twice = 3  # of the class token and the others: last MLP, its norm, final norm
  assert len(calls) == 2 * 3 + 1 + twice
  for weights, x, found in calls:
    if 'scale' in weights:
      x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + 0.1
      )
      expected = x * weights['scale'] + weights['bias']
    else:
      first, second = weights['Dense_0'], weights['Dense_1']
      x = x @ first['kernel'] + first['bias']
      x = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
      expected = x @ second['kernel'] + second['bias']
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_folder_is_read_by_its_content(tmp_path):
  shutil.copy(NPZ / 'big_vision.npz', tmp_path / 'weights')
  (tmp_path / 'README').write_text('weights of somebody')
  assert 'big_vision' in sources.read(tmp_path).format
  shutil.copy(NPZ / 'vision_transformer.npz', tmp_path / 'others')
  with pytest.raises(UserError, match='others, weights'):
    sources.read(tmp_path)


@pytest.mark.parametrize(
  'name', ['', 'a\0b', 'a' * 5000, 'link', 'pipe', 'absent', 'folder/x', 'run']
)
def test_paths_that_cannot_be_read_are_refused(tmp_path, name):
  (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
  os.mkfifo(tmp_path / 'pipe')
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'run' / 'checkpoints').mkdir(parents=True)
  with pytest.raises(UserError, match='checkpoint'):
    sources.read(f'{tmp_path}/{name}')


def test_an_unknown_model_of_hugging_face_is_named(tmp_path):
  (tmp_path / 'model.safetensors').write_bytes(HOSTILE['other safetensors'])
  (tmp_path / 'config.json').write_text('{"model_type": "sam"}')
  with pytest.raises(UserError, match="'sam'"):
    sources.read(tmp_path)
