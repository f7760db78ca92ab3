"""Sharded safetensors are the same checkpoint."""

import json
import shutil

import numpy as np
import pytest
import reference
from safetensors.numpy import load_file, save_file

from vivit_jax.checkpoints import load, sources
from vivit_jax.errors import UserError

WHOLE = reference.FIXTURES / 'huggingface_vivit'
SHARDS = [f'model-0000{n}-of-00003.safetensors' for n in (1, 2, 3)]
INDEX = 'model.safetensors.index.json'


@pytest.fixture
def folder(tmp_path):
  """Returns the Hugging Face ViViT in three shards."""
  arrays = load_file(WHOLE / 'model.safetensors')
  placed = {name: SHARDS[n % 3] for n, name in enumerate(sorted(arrays))}
  folder = tmp_path / 'sharded'
  folder.mkdir()
  for shard in SHARDS:
    own = {name: x for name, x in arrays.items() if placed[name] == shard}
    save_file(own, folder / shard)
  write(folder, placed)
  shutil.copy(WHOLE / 'config.json', folder)
  return folder


def write(folder, placed):
  (folder / INDEX).write_text(json.dumps({'weight_map': placed}))


def test_shards_are_the_unsharded_checkpoint(folder):
  expected = sources.read(WHOLE)
  for path in (folder, folder / INDEX):
    found = sources.read(path)
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
      np.testing.assert_array_equal(found.arrays[name], array)
    assert found.experiment == expected.experiment
  assert load.load(folder).digest == load.load(WHOLE).digest
  # To evaluate.py, the folder is one checkpoint, not three.
  assert sources.within(folder) == [folder]
  assert sources.place(folder) == (folder / INDEX).resolve()


def first(folder):
  placed = json.loads((folder / INDEX).read_text())['weight_map']
  return placed, min(placed)


def outside(folder, path):
  placed, name = first(folder)
  shutil.copy(folder / placed[name], folder.parent / placed[name])
  write(folder, placed | {name: path.format(placed[name])})
  return name


def renamed(folder):
  placed, name = first(folder)
  write(
    folder, {f'{key}.x' if key == name else key: placed[key] for key in placed}
  )
  return name


def dropped(folder):
  placed, name = first(folder)
  write(folder, {key: placed[key] for key in placed if key != name})
  return name


def broken(folder):
  (folder / SHARDS[1]).write_bytes((folder / SHARDS[1]).read_bytes()[:-7])
  return SHARDS[1]


def removed(folder):
  (folder / SHARDS[2]).unlink()
  return SHARDS[2]


def no_map(folder):
  (folder / INDEX).write_text('{"metadata": {}}')
  return 'weight_map'


def no_json(folder):
  (folder / INDEX).write_text('{"weight_map": {')
  return INDEX


@pytest.mark.parametrize(
  'damage',
  [
    lambda folder: outside(folder, '../{}'),
    lambda folder: outside(folder, str(folder.parent) + '/{}'),
    lambda folder: outside(folder, 'deeper/../{}'),
    renamed, dropped, broken, removed, no_map, no_json,
  ],
)  # fmt: skip
def test_damaged_shards_are_refused_in_one_line(folder, damage):
  named = damage(folder)
  with pytest.raises(UserError) as caught:
    sources.read(folder)
  assert named in str(caught.value) and '\n' not in str(caught.value)
