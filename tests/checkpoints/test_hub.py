"""Checkpoints by name, from a Hub on this machine."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import hub_server
import huggingface_hub
import pytest
import reference
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file

from vivit_jax import config as configs
from vivit_jax import files
from vivit_jax.checkpoints import convert, load, sources, workdir
from vivit_jax.checkpoints.sources import hub as names
from vivit_jax.errors import UserError
from vivit_jax.evaluation import checkpoint_selection
from vivit_jax.inference import export, model_flags
from vivit_jax.training import checks

WHOLE = reference.FIXTURES / 'huggingface_vivit'
NPZ = reference.FIXTURES / 'image_vit' / 'vision_transformer.npz'
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def hub(tmp_path, monkeypatch):
  """Returns a Hub, and makes it and an empty cache huggingface_hub's."""
  with hub_server.serving() as hub:
    url = constants.HUGGINGFACE_CO_URL_TEMPLATE
    url = url.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', url)
    monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    hub.add('owner/vivit', WHOLE)
    names._download.cache_clear()
    yield hub
    names._download.cache_clear()


def again(name):
  """Returns the local path, as another process would find it."""
  names._download.cache_clear()
  return names.local(name)


@pytest.fixture
def made(tmp_path, hub):
  """Returns a function that fills and serves a folder as owner/made."""

  def make(*paths: str) -> pathlib.Path:
    folder = tmp_path / 'made'
    for path in paths:
      (folder / path).parent.mkdir(parents=True, exist_ok=True)
      (folder / path).write_text(json.dumps({'path': path}))
    hub.add('owner/made', folder)
    return folder

  return make


def test_a_name_loads_what_its_folder_does(hub, capsys):
  loaded = load.load('hf://owner/vivit')
  expected = load.load(WHOLE)
  assert loaded.digest == expected.digest
  assert loaded.config == expected.config
  assert loaded.name == 'hf://owner/vivit'
  assert sorted(hub.downloads()) == ['config.json', 'model.safetensors']
  shown = capsys.readouterr()
  assert hub_server.COMMIT in shown.err and not shown.out  # predict --json
  hub.requests.clear()
  assert sources.read(again('hf://owner/vivit')).experiment
  assert not hub.downloads()
  assert {method for method, *_ in hub.requests} == {'GET'}


def test_without_network_the_cache_is_used(hub, monkeypatch):
  path = names.local('hf://owner/vivit')
  pinned = f'hf://owner/vivit@{hub_server.COMMIT}/model.safetensors'
  monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
  for name in ('hf://owner/vivit', pinned):
    assert again(name) == path
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  hub.requests.clear()
  for name in ('hf://owner/vivit', pinned):
    assert again(name) == path
  assert not hub.requests
  for name in ('owner/other', 'owner/vivit/a.npz', 'owner/vivit@v2'):
    with pytest.raises(UserError, match=f'{name}.*HF_HUB_OFFLINE'):
      names.local(f'hf://{name}')


def test_no_network_and_nothing_in_the_cache(hub, monkeypatch):
  monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
  with pytest.raises(UserError, match='owner/vivit.*127.0.0.1:9'):
    names.local('hf://owner/vivit')


def test_a_download_that_is_cut_off_goes_on(hub, monkeypatch):
  monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 500)
  hub.cuts['model.safetensors'] = 1000
  path = names.local('hf://owner/vivit')
  assert path.read_bytes() == (WHOLE / 'model.safetensors').read_bytes()
  ranges = [where for *_, where in hub.requests if where is not None]
  assert ranges == ['bytes=1000-']


def test_revision_and_file(hub, made):
  folder = made('a/config.json', 'config.json', 'a/preprocessor_config.json')
  shutil.copy(NPZ, folder / 'a' / 'vit.npz')
  hub.add('owner/both', WHOLE)
  hub.add('owner/both', folder, 'v2')
  path = names.local('hf://owner/made/a/vit.npz')
  assert path.read_bytes() == NPZ.read_bytes()
  assert hub.downloads() == [
    'a/vit.npz', 'a/config.json', 'a/preprocessor_config.json',
  ]  # fmt: skip
  found = sources.read('hf://owner/made/a/vit.npz').arrays
  assert found.keys() == sources.read(NPZ).arrays.keys()
  hub.requests.clear()
  with pytest.raises(UserError, match='owner/both@v2'):  # nothing at its top
    names.local('hf://owner/both@v2')
  assert names.local('hf://owner/both').name == 'model.safetensors'
  asked = [path for _, path, _ in hub.requests if path.startswith('/api')]
  assert asked[0] == '/api/models/owner/both/revision/v2'


@pytest.mark.parametrize(
  'weights,others',
  [
    ('model.safetensors', ['pytorch_model.bin', 'flax_model.msgpack']),
    ('pytorch_model.bin', ['tf_model.h5', 'flax_model.msgpack', 'a.pth']),
    ('k400.pyth', ['README.md', 'sub/other.pyth']),
  ],
)
def test_only_the_weights_are_downloaded(hub, made, weights, others):
  folder = made(weights, *others)
  path = names.local('hf://owner/made')
  assert path.read_text() == (folder / weights).read_text()
  assert hub.downloads() == [weights]


def test_several_weights_are_listed(made):
  made('a.pth', 'b.pth')
  with pytest.raises(UserError, match='owner/made.*a.pth, b.pth.*/FILE'):
    names.local('hf://owner/made')


def test_shards_are_downloaded_with_their_index(hub, tmp_path):
  folder = tmp_path / 'sharded'
  folder.mkdir()
  placed = {}
  arrays = sorted(load_file(WHOLE / 'model.safetensors').items())
  for n in range(2):
    shard = f'model-{n}.safetensors'
    save_file(dict(arrays[n::2]), folder / shard)
    placed |= {name: shard for name, _ in arrays[n::2]}
  index = folder / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': placed}))
  shutil.copy(WHOLE / 'config.json', folder)
  (folder / 'model-2.safetensors').write_text('in no index')
  hub.add('owner/sharded', folder)
  assert load.load('hf://owner/sharded').digest == load.load(WHOLE).digest
  assert 'model-2.safetensors' not in hub.downloads()

  index.write_text(json.dumps({'weight_map': placed | {'x': '../x'}}))
  hub.add('owner/outside', folder)
  with pytest.raises(UserError, match=r'\.\./x'):
    names.local('hf://owner/outside')


@pytest.mark.parametrize(
  'name,match',
  [
    ('hf://owner/absent', 'owner/absent.*HF_TOKEN'),
    ('hf://owner/vivit@v9', "owner/vivit.*'v9'"),
    ('hf://owner/vivit/a.npz', 'owner/vivit.*a.npz'),
    ('hf://owner/nested/inner', 'nested/inner.* inner/'),
    ('https://huggingface.co/owner/vivit', 'hf://'),
    ('hf://owner/gated', 'request.*owner/gated.*HF_TOKEN'),
    ('hf://owner', 'hf://owner'),
    ('hf://owner/vivit@', 'owner/vivit@'),
    ('hf:/owner/vivit', "'hf:/owner/vivit'"),
    (pathlib.Path('hf://owner/vivit'), "'hf:/owner/vivit'"),
    ('hf://datasets/owner/vivit', 'dataset'),
    ('hf://owner/vivit/../x.npz', r'owner/vivit/\.\./x.npz'),
    ('hf://owner/vivit@../../x', r'owner/vivit@\.\./\.\./x'),
  ],
)
def test_mistakes_are_one_sentence(hub, tmp_path, name, match):
  nested = tmp_path / 'nested'
  shutil.copytree(WHOLE, nested / 'inner')
  hub.add('owner/nested', nested)
  hub.add('owner/gated', WHOLE)
  hub.gated.add('owner/gated')
  with pytest.raises(UserError, match=match) as caught:
    load.load(name)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'error', [OSError(errno.ENOSPC, 'No space'), PermissionError(13, 'denied')]
)
def test_a_cache_that_cannot_be_written(hub, monkeypatch, error):
  def fail(*_, **__):
    raise error

  monkeypatch.setattr(huggingface_hub.HfApi, 'hf_hub_download', fail)
  with pytest.raises(UserError, match=f'owner/vivit.*{constants.HF_HUB_CACHE}'):
    names.local('hf://owner/vivit')


def test_a_run_keeps_the_name(hub, tmp_path):
  config = configs.default()
  config.init_from = 'hf://owner/vivit'
  config = configs.with_heads(configs.resolve(config), {'label': 3})
  checks.check_alone(config, tmp_path / 'run')
  with workdir.claimed(tmp_path / 'run', config):
    pass
  assert workdir.read_config(tmp_path / 'run').init_from == config.init_from
  workdir.check(tmp_path / 'run', config)
  assert files.absolute('hf://owner/vivit') == 'hf://owner/vivit'
  other = configs.default()
  other.init_from = 'hf://owner/absent'
  other = configs.with_heads(configs.resolve(other), {'label': 3})
  with pytest.raises(UserError, match='owner/absent'):
    checks.check_alone(other, tmp_path / 'other')


def test_evaluation_names_its_folder_by_the_repository(hub):
  paths = ['hf://owner/vivit', 'hf://owner/vivit/model.safetensors']
  config = configs.resolve(configs.default())
  one, *others = checkpoint_selection.of_paths(paths, config, {})
  assert (one.path, one.folder) == (paths[0], 'vivit')
  assert not others  # the same file


def test_commands_obey_the_variables(hub, tmp_path):
  program = [sys.executable, '-m', 'vivit_jax.checkpoints', 'inspect']
  own = {'HF_ENDPOINT': hub.url, 'HF_HOME': str(tmp_path / 'home')}

  def inspect(path, **variables):
    return subprocess.run(
      [*program, str(path)],
      cwd=ROOT,
      env=os.environ | own | variables,
      capture_output=True,
      text=True,
    )

  found = inspect('hf://owner/vivit')
  assert found.returncode == 0, found.stderr
  assert found.stdout.strip() == convert.describe(sources.read(WHOLE)).strip()
  hub.requests.clear()
  assert inspect('hf://owner/vivit', HF_HUB_OFFLINE='1').stdout == found.stdout
  assert not hub.requests
  absent = inspect('hf://owner/absent')
  assert absent.returncode == 2
  assert len(absent.stderr.splitlines()) == 1


def test_nothing_is_written_to_a_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  name = pathlib.Path('hf://owner/vivit')
  for write in (
    lambda: convert.convert(WHOLE, name, to='native'),
    lambda: workdir.check(name, configs.resolve(configs.default())),
    lambda: export.export(None, name),
  ):
    with pytest.raises(UserError, match='hf://owner/vivit'):
      write()
  assert not list(tmp_path.iterdir())


def test_a_path_needs_no_hub():
  program = (
    'import sys; sys.modules["huggingface_hub"] = None\n'
    'from vivit_jax.checkpoints import load\n'
    f'load.load({str(WHOLE)!r})\n'
  )
  subprocess.run([sys.executable, '-c', program], check=True, cwd=ROOT)


def test_workdir_on_the_hub_is_a_checkpoint():
  values = types.SimpleNamespace(
    workdir='hf://owner/vivit', checkpoint=None, config=None
  )
  with pytest.raises(UserError, match='owner/vivit.*--checkpoint'):
    model_flags.check(values)
