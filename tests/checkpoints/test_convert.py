"""The command: inspect and convert; and transformers beside ours."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import reference

from vivit_jax import config as configs
from vivit_jax.checkpoints import convert, load, merge, names, sources
from vivit_jax.errors import UserError
from vivit_jax.models import preprocessor
from vivit_jax.models.family import Target
from vivit_jax.models.vivit import huggingface
from vivit_jax.models.weights import Clip

ROOT = reference.FIXTURES.parents[1]
SOURCE = reference.FIXTURES / 'model1_joint'


def command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'vivit_jax.checkpoints', *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )


@pytest.mark.slow
def test_the_command_inspects_and_converts(tmp_path):
  done = command('inspect', SOURCE)
  assert done.returncode == 0, done.stderr
  for words in ('scenic', 'joint', '2x16x16', '37 in Transf', '11 classes'):
    assert words in done.stdout
  done = command('inspect', ROOT / 'README.md')
  assert done.returncode == 2
  assert done.stderr.startswith('error: ') and 'Traceback' not in done.stderr
  flags = '--to=huggingface', '--frames=8', '--crop=48'
  done = command('convert', SOURCE, tmp_path / 'hf', *flags)
  assert done.returncode == 0, done.stderr
  convert.convert(tmp_path / 'hf', tmp_path / 's', to='scenic')
  expected, found = sources.read(SOURCE), sources.read(tmp_path / 's')
  jax.tree.map(np.testing.assert_array_equal, found.arrays, expected.arrays)


def test_native_is_a_workdir_to_evaluate_and_to_start_from(tmp_path):
  config = configs.default('joint')
  config.model.options.update(layers=3, **reference.SIZE)
  config.data.frames, config.data.crop = 8, (48, 48)
  config = configs.resolve(config)
  convert.convert(SOURCE, tmp_path / 'run', to='native', config=config)
  found = load.from_run(tmp_path / 'run', 'best')
  expected = reference.parameters('model1_joint')
  jax.tree.map(np.testing.assert_array_equal, found.params, expected)
  assert found.label_names['label'][10] == 'class 10'
  again = sources.read(tmp_path / 'run')
  assert again.arrays.keys() == sources.read(SOURCE).arrays.keys()
  with pytest.raises(UserError, match='--config'):
    convert.convert(SOURCE, tmp_path / 'other', to='native')
  config = dataclasses.replace(
    config, data=dataclasses.replace(config.data, frames=4)
  )
  with pytest.raises(UserError, match='init_grid'):
    convert.convert(SOURCE, tmp_path / 'other', to='native', config=config)
  assert [path.name for path in tmp_path.iterdir()] == ['run']


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
  def full(*_, **__):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(convert, 'save_file', full)
  monkeypatch.setattr(convert.os, 'replace', full)
  for to in ('huggingface', 'scenic'):
    with pytest.raises(UserError, match='new.*No space left'):
      convert.convert(SOURCE, tmp_path / 'new', to=to, frames=8, crop=48)
  assert not list(tmp_path.iterdir())


def weights(**changes):
  return dataclasses.replace(sources.read(SOURCE), **changes)


def without(*names):
  whole = sources.read(SOURCE).arrays
  return {n: a for n, a in whole.items() if not n.startswith(names or '/')}


@pytest.mark.parametrize(
  'to, source, keys, why',
  [
    ('huggingface', weights(), {'frames': None, 'crop': None}, '32 frames'),
    ('huggingface', weights(), {'frames': 9}, '9 frames'),
    ('huggingface', weights(models=('factorised_encoder',)), {}, 'joint'),
    ('huggingface', weights(arrays=without('cls'), models=('joint',)), {},
     'no class token'),
    ('huggingface', weights(arrays=without('Transformer/posemb')), {},
     'no learned positions'),
    ('huggingface', weights(arrays=without('output_projection')), {},
     'no head'),
    ('huggingface', weights(arrays=without() | {'MAPHead_0/probe': np.ones(1)}),
     {}, 'pools by attention'),
    ('huggingface', weights(label_names={'noun': ['a'], 'verb': ['b']}), {},
     'heads noun, verb'),
    ('scenic', weights(options={'order': 'space_time'},
                       models=('factorised_self_attention',)),
     {}, 'model.options.order'),
    ('scenic', weights(arrays=without('Transformer/encoderblock_1/Mlp')), {},
     'encoderblock_1'),
    ('huggingface', weights(arrays=without('Transformer/encoderblock_1/')), {},
     'encoderblock_2'),
    ('scenic', weights(), {'target': 'existing'}, 'existing'),
  ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused(
  tmp_path, monkeypatch, to, source, keys, why
):
  monkeypatch.setattr(sources, 'read', lambda path: source)
  (tmp_path / 'existing').write_text('')
  target = tmp_path / keys.get('target', 'new')
  clip = {key: x for key, x in keys.items() if key != 'target'}
  with pytest.raises(UserError, match=why):
    convert.convert(SOURCE, target, to=to, **({'frames': 8, 'crop': 48} | clip))
  assert [path.name for path in tmp_path.iterdir()] == ['existing']


def test_a_source_that_states_its_clip_needs_no_flags(tmp_path):
  hugging = reference.FIXTURES / 'huggingface_vivit'
  convert.convert(hugging, tmp_path / 'hf', to='huggingface')
  old, new = (
    json.loads((folder / 'config.json').read_text())
    for folder in (hugging, tmp_path / 'hf')
  )
  for key in ('num_frames', 'image_size', 'tubelet_size'):
    assert old[key] == new[key]
  convert.convert(hugging, tmp_path / 'run', to='native')
  found = load.load(tmp_path / 'run')
  expected = load.load(hugging)
  jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
  assert found.config.model == expected.config.model


def test_activation_and_epsilon_are_exported():
  clip = Clip(8, (48, 48))
  for options, activation, epsilon in (
    ({}, 'gelu_fast', 1e-6),
    ({'gelu': 'exact', 'norm_epsilon': 1e-12}, 'gelu', 1e-12),
  ):
    config = huggingface.write(weights(options=options), clip)['config.json']
    assert config['hidden_act'] == activation
    assert config['layer_norm_eps'] == epsilon


HALF = (0.5, 0.5, 0.5)
PIXELS = [
  (HALF, HALF),
  ((0.4, 0.5, 0.5), (0.5, 0.5, 0.2)),
  ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
]


@pytest.mark.parametrize('mean, std', PIXELS)
def test_any_mean_and_deviation_are_exported(mean, std):
  """As its processor computes from them."""
  written = preprocessor.write(Clip(mean=mean, std=std))
  assert written['size'] == {'shortest_edge': 256}
  pixels = np.array([[0.0, 127.5, 255.0], [255.0, 10.0, 30.0]])
  theirs = pixels * written['rescale_factor'] - written['offset']
  if written['do_normalize']:
    theirs = theirs - written['image_mean']
    theirs = theirs / written['image_std']
  ours = (pixels / 255 - np.array(mean)) / std
  np.testing.assert_allclose(theirs, ours, atol=1e-6)


@pytest.mark.parametrize('mean, std', PIXELS)
def test_transformers_maps_pixels_as_ours(tmp_path, mean, std):
  pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  clip = Clip(8, (48, 48), 64, mean, std)
  (tmp_path / 'preprocessor_config.json').write_text(
    json.dumps(preprocessor.write(clip))
  )
  processor = transformers.VivitImageProcessor.from_pretrained(tmp_path)
  draw = np.random.default_rng(0)
  video = [draw.integers(0, 256, (64, 64, 3)).astype(np.uint8)] * 8
  found = np.asarray(processor(video, return_tensors='np')['pixel_values'])[0]
  ours = (video[0][8:56, 8:56] / 255 - clip.mean) / clip.std
  np.testing.assert_allclose(found[0], ours.transpose(2, 0, 1), atol=1e-5)


def test_an_exported_model_gives_its_logits_in_transformers(tmp_path):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  convert.convert(SOURCE, tmp_path / 'hf', to='huggingface', frames=8, crop=48)
  theirs = transformers.VivitForVideoClassification.from_pretrained(
    tmp_path / 'hf', attn_implementation='eager'
  ).eval()
  golden = reference.golden('model1_joint')
  video = torch.from_numpy(golden['video']).permute(0, 1, 4, 2, 3)
  with torch.no_grad():
    logits = theirs(video).logits.numpy()
  model = reference.model('model1_joint')
  params = {'params': names.unflatten(sources.read(SOURCE).arrays)}
  with jax.default_matmul_precision('highest'):
    ours = model.apply(params, golden['video'])['label']
  scale = np.abs(ours).max()
  np.testing.assert_allclose(logits, ours, atol=2e-5 * scale)


def test_an_image_vit_of_transformers_gives_its_tokens_here(tmp_path):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  torch.manual_seed(0)
  config = transformers.ViTConfig(
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=96,
    image_size=48,
    patch_size=16,
    hidden_act='gelu_pytorch_tanh',
    layer_norm_eps=1e-6,
  )
  theirs = transformers.ViTModel(config, add_pooling_layer=False).eval()
  theirs.save_pretrained(tmp_path / 'vit')
  image = np.random.default_rng(0).normal(size=(2, 48, 48, 3))
  image = image.astype(np.float32)
  with torch.no_grad():
    tokens = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2)))
  expected = tokens.last_hidden_state[:, 0].numpy()
  source = sources.read(tmp_path / 'vit')
  assert source.models == ('image ViT',)
  target = Target(reference.config('model2_average_pooled'), 8, (48, 48))
  model = reference.model('model2_average_pooled')
  start = model.init(jax.random.key(0), np.zeros((1, 8, 48, 48, 3)))['params']
  merged = merge.merge(source, names.flatten(start), target)
  with jax.default_matmul_precision('highest'):
    found = model.apply(
      {'params': names.unflatten(merged.arrays)},
      image[:, None].repeat(8, axis=1),
      features=True,
    ).pre_logits
  np.testing.assert_allclose(
    found, expected, atol=2e-5 * np.abs(expected).max()
  )
