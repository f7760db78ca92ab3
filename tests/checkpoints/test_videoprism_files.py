"""VideoPrism's files: the authors' npz, and transformers' folders."""

import json

import numpy as np
import pytest
import reference

import vivit_jax
from vivit_jax import config as configs
from vivit_jax.checkpoints import convert, load, merge, pretrained, sources
from vivit_jax.errors import UserError
from vivit_jax.models.videoprism import files
from vivit_jax.models.weights import File

ENCODER = reference.FIXTURES / 'videoprism_encoder'
NPZ = ENCODER / 'flax_tiny_repeated.npz'
TEXT = ENCODER / 'flax_tiny_lvt_repeated.npz'
CLASSIFIER = (
  reference.FIXTURES
  / 'videoprism_classifier'
  / 'flax_tiny_classifier_repeated.npz'
)
STACK = 'transformers_stack/x_layers/'


def arrays_of(path):
  with np.load(path, allow_pickle=False) as arrays:
    return dict(arrays)


def opened(arrays):
  return File(NPZ, 'npz', list(arrays), lambda: dict(arrays))


def same(found, expected):
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_both_projects_files_have_the_same_arrays():
  source = sources.read(NPZ)
  found = sources.read(ENCODER / 'transformers')
  same(found.arrays, source.arrays)
  assert found.experiment == source.experiment
  scale = source.arrays['SpatialTransformer/encoder_norm/scale']
  theirs = arrays_of(NPZ)['params/spatial_ln/scale']
  np.testing.assert_allclose(scale, 1 + theirs, atol=1e-6)


def test_layers_may_lie_apart_and_names_lack_the_prefix():
  arrays = {}
  for name, array in arrays_of(NPZ).items():
    name = name.removeprefix('params/')
    if STACK in name:
      for layer, part in enumerate(array):
        arrays[name.replace('x_layers/', f'x_layers_{layer}/')] = part
    else:
      arrays[name] = array
  same(files.read_npz(opened(arrays)).arrays, sources.read(NPZ).arrays)


def of_width(width, heads, mlp, frames):
  """Returns an encoder of one spatial and one temporal layer."""
  shapes = {
    'layer_norm/scale': (width,),
    'layer_norm/bias': (width,),
    'ff_layer/layer_norm/scale': (width,),
    'ff_layer/layer_norm/bias': (width,),
    'ff_layer/ffn_layer1/linear/kernel': (width, mlp),
    'ff_layer/ffn_layer1/linear/bias': (mlp,),
    'ff_layer/ffn_layer2/linear/kernel': (mlp, width),
    'ff_layer/ffn_layer2/linear/bias': (width,),
    'self_attention/post/w': (width, heads, width // heads),
    'self_attention/post/b': (width,),
  }
  for name in ('query', 'key', 'value'):
    shapes[f'self_attention/{name}/w'] = (width, heads, width // heads)
    shapes[f'self_attention/{name}/b'] = (heads, width // heads)
  arrays = {
    'patch_projection/linear/kernel': (3 * 18 * 18, width),
    'patch_projection/linear/bias': (width,),
    'spatial_pos_emb/emb_var': (256, width),
    'temporal_pos_emb/emb_var': (frames, width),
  }
  for axis in ('spatial', 'temporal'):
    arrays |= {
      f'{axis}_encoder/{STACK}{name}': (1, *shape)
      for name, shape in shapes.items()
    }
    arrays |= {f'{axis}_ln/{x}': (width,) for x in ('scale', 'bias')}
  return {f'params/{n}': np.zeros(x, np.float32) for n, x in arrays.items()}


@pytest.mark.parametrize('size, width, heads, mlp, frames', [
  ('B', 768, 12, 3072, 16),
  ('L', 1024, 16, 4096, 8),
  ('g', 1408, 16, 6144, 8),
])  # fmt: skip
def test_sizes_and_clips_follow_from_shapes(size, width, heads, mlp, frames):
  source = files.read_npz(opened(of_width(width, heads, mlp, frames)))
  config = configs.from_mapping(source.experiment)
  model, options = config.model, config.model.options
  assert (model.size, model.pool, options.width) == (size, 'mean', None)
  assert (options.patch, options.table) == (18, (frames, 16, 16))
  assert (options.spatial_layers, options.temporal_layers) == (1, 1)
  data = config.data
  assert (data.frames, data.crop, data.sampling) == (
    frames,
    (288, 288),
    'whole',
  )
  assert (data.mean, data.std) == ((0.0,) * 3, (1.0,) * 3)


def test_a_table_that_is_no_square_needs_a_config():
  arrays = arrays_of(NPZ)
  arrays['params/spatial_pos_emb/emb_var'] = np.zeros((12, 24), np.float32)
  source = files.read_npz(opened(arrays))
  assert source.experiment is None
  assert 'table' in source.obstacle


def test_the_text_tower_is_left_over_and_said_so():
  source, rows = sources.read(TEXT), []
  assert any('text' in note for note in source.notes)
  theirs = [n for n in arrays_of(TEXT) if n.startswith('params/text_encoder/')]
  assert len(source.spare) == len(theirs)
  load.load(TEXT, headless=True, say=rows.append)
  lines = [x for x in rows[-1].splitlines() if 'text_encoder/' in x]
  assert len(lines) == 1 and f'{len(theirs)} arrays' in lines[0]
  text = convert.describe(source)
  for part in ('videoprism', '2 in AuxiliaryTransformer', '16 in Spatial'):
    assert part in text


def test_embeddings_of_a_video_have_length_1():
  model = vivit_jax.load(TEXT)
  frames = np.random.default_rng(0).integers(0, 256, (9, 24, 24, 3), np.uint8)
  found = model.features(frames)
  clip = frames[model.clips_and_numbers(frames)[1][0]] / np.float32(255)
  expected = model.model.apply(
    {'params': model.params}, clip[None], features=True
  ).pre_logits[0]
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(found), 1, rtol=1e-5)
  with pytest.raises(UserError, match='head'):
    model.predict(frames)


def probe(path, **options):
  """Returns the merge of a file into a classifier with an attention pool."""
  experiment = sources.read(path).experiment
  model = experiment['model'] | {'pool': 'attention', 'heads': {'label': 3}}
  model['options'] = model['options'] | {'auxiliary_layers': 0} | options
  model['attention_pool'] = {'form': 'videoprism'}
  config = configs.from_mapping(experiment | {'model': model})
  source = pretrained.read(path, config)
  initial = pretrained.shapes(config)
  return merge.merge(source, initial, configs.target(config))


@pytest.mark.parametrize('path', [NPZ, TEXT])
def test_a_probe_starts_from_an_encoder(path):
  found = probe(path)
  fresh = {name.partition('/')[0] for name in found.names('fresh')}
  assert fresh == {'attention_pool', 'output_projection'}
  assert len(found.names('loaded')) >= 88
  unused = {name.partition('/')[0] for name in found.names('unused')}
  of_text = {'AuxiliaryTransformer', 'attention_pool', 'text_encoder'}
  assert unused == (of_text if path == TEXT else set())


def test_patches_of_another_size_are_interpolated():
  found = probe(NPZ, patch=3)
  assert found.names('adapted') == ['embedding/kernel']
  theirs = sources.read(NPZ).arrays['embedding/kernel']
  found = found.arrays['embedding/kernel']
  # The triangle of an entry in the middle spans four of the six.
  weights = np.array([0.25, 0.75, 0.75, 0.25]) / 2
  middle = np.einsum('i,j,ijCD->CD', weights, weights, theirs[0, 1:5, 1:5])
  np.testing.assert_allclose(found[0, 1, 1], 4 * middle, atol=1e-5)


def test_tables_of_another_size_are_refused():
  with pytest.raises(UserError, match=r'table=\(5, 4, 4\)'):
    probe(NPZ, table=(3, 4, 4))


@pytest.mark.parametrize('path', [NPZ, CLASSIFIER])
def test_the_authors_file_is_written_bit_for_bit(path, tmp_path):
  convert.convert(path, tmp_path / 'ours.npz', to='videoprism')
  found, expected = arrays_of(tmp_path / 'ours.npz'), arrays_of(path)
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    assert found[name].dtype == array.dtype
    assert found[name].tobytes() == array.tobytes(), name


def test_a_run_is_written_for_the_authors_code(tmp_path):
  """Through float32, in which the scale has fewer bits than scale - 1."""
  convert.convert(CLASSIFIER, tmp_path / 'run', to='native')
  convert.convert(tmp_path / 'run', tmp_path / 'ours.npz', to='videoprism')
  found = sources.read(tmp_path / 'ours.npz').arrays
  run = sources.read(tmp_path / 'run').arrays
  same({name: x.astype(np.float32) for name, x in found.items()}, run)


@pytest.mark.parametrize('path, named', [
  (TEXT, 'auxiliary|pool'),
  (reference.FIXTURES / 'model1_joint', 'videoprism'),
])  # fmt: skip
def test_what_the_authors_code_lacks_is_not_written(path, named, tmp_path):
  with pytest.raises(UserError, match=named):
    convert.convert(path, tmp_path / 'ours.npz', to='videoprism')
  assert not [*tmp_path.iterdir()]


def folder(tmp_path, **changes):
  """Returns a copy of transformers' folder with another config.json."""
  for file in (ENCODER / 'transformers').iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  path = tmp_path / 'config.json'
  config = json.loads(path.read_text()) | changes
  config = {key: x for key, x in config.items() if x is not None}
  path.write_text(json.dumps(config))
  return tmp_path


def test_the_cap_of_config_json_is_used(tmp_path):
  source = sources.read(folder(tmp_path, attn_logit_softcapping=30.0))
  assert source.experiment['model']['options']['cap'] == 30.0


@pytest.mark.parametrize('changes, named', [
  ({'hidden_act': 'relu'}, 'relu'),
  ({'layer_norm_eps': 1e-5}, 'layer_norm_eps'),
  ({'num_attention_heads': None}, 'num_attention_heads'),
  ({'num_attention_heads': 5}, '5 attention heads'),
  ({'attn_logit_softcapping': -1.0}, 'cap'),
])  # fmt: skip
def test_another_config_json_is_refused(changes, named, tmp_path):
  with pytest.raises(UserError, match=named):
    load.load(folder(tmp_path, **changes), headless=True)


LAYER = 'params/temporal_encoder/transformers_stack/x_layers'


def without(name):
  return lambda arrays: {n: x for n, x in arrays.items() if n != name}


def with_array(name, shape):
  return lambda arrays: arrays | {name: np.zeros(shape, np.float32)}


@pytest.mark.parametrize('change, named', [
  (without(f'{LAYER}/self_attention/post/w'), 'out/kernel'),
  (without(f'{LAYER}/layer_norm/scale'), 'LayerNorm_0/scale'),
  (without('params/spatial_ln/bias'), 'encoder_norm/bias'),
  (without('params/temporal_pos_emb/emb_var'), 'position'),
  (without('params/patch_projection/linear/bias'), 'embedding/bias'),
  (with_array('params/patch_projection/linear/kernel', (100, 24)), 'patch'),
  (with_array(f'{LAYER}/self_attention/query/b', (2, 8, 3)), 'query/b'),
  (with_array(f'{LAYER}/self_attention/key/w', (1, 24, 3, 8)), 'key'),
  (with_array(f'{LAYER}/gate/w', (2, 24)), 'gate'),
  (with_array('params/patch_projection/linear/kernel', ()), 'patch'),
  (with_array(f'{LAYER}/self_attention/key/b', ()), 'key/b'),
  (with_array(f'{LAYER}/layer_norm/bias', (2,)), 'layer_norm/bias'),
])  # fmt: skip
def test_damaged_files_are_refused_by_name(change, named, tmp_path):
  np.savez(tmp_path / 'damaged.npz', **change(arrays_of(NPZ)))
  with pytest.raises(UserError, match=named):
    load.load(tmp_path / 'damaged.npz', headless=True)


@pytest.mark.parametrize(
  'kind', ['ForVideoClassification', 'VideoModel', 'ClipModel']
)
def test_transformers_gives_the_same_outputs(kind, tmp_path):
  """Their classifier's pool is 4 times as wide as the authors'."""
  torch = pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  config = json.loads((ENCODER / 'transformers/config.json').read_text())
  config |= {'intermediate_size': 96, 'num_labels': 4}
  torch.manual_seed(0)
  if kind == 'ClipModel':
    text = {'hidden_size': 24, 'intermediate_size': 96, 'vocab_size': 19}
    text |= {'num_hidden_layers': 1, 'num_attention_heads': 3}
    config = transformers.VideoPrismConfig(
      vision_config=config, text_config=text
    )
  else:
    config = transformers.VideoPrismVisionConfig(**config)
  model = getattr(transformers, f'VideoPrism{kind}')(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.normal_(std=0.3)
  model.save_pretrained(tmp_path)
  video = np.random.default_rng(0).uniform(size=(2, 5, 24, 24, 3))
  video = video.astype(np.float32)
  pixels = torch.from_numpy(video).permute(0, 1, 4, 2, 3)
  with torch.no_grad():
    theirs = getattr(model, 'video_model', model)(pixels)
  loaded = load.load(tmp_path, headless=True)
  is_head = kind == 'ForVideoClassification'
  found = loaded.model.apply(
    {'params': loaded.params}, video, features=not is_head
  )
  if is_head:
    found, expected = found['label'], theirs.logits.numpy()
  else:
    found, expected = found.pre_logits, theirs.pooler_output.numpy()
  atol = 2e-5 * np.abs(expected).max()
  # Theirs have an axis for the query.
  np.testing.assert_allclose(found, expected[:, 0], atol=atol)
