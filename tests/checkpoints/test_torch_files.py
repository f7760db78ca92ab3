"""Files of torch.save are read without torch, and nothing in them is run."""

import json
import random
import shutil
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import reference
import torch_pickles as made
from safetensors.numpy import load_file

from vivit_jax.checkpoints import load, sources
from vivit_jax.checkpoints.sources import detect, torch_files
from vivit_jax.errors import UserError

FILES = reference.FIXTURES / 'torch_files'
ONE = struct.pack('<f', 1)
W = made.tensor('0', 1, [1])


@pytest.fixture(autouse=True)
def nothing_is_made(tmp_path, monkeypatch):
  """Files that call os.mkdir would make a folder here."""
  folder = tmp_path / 'here'
  folder.mkdir()
  monkeypatch.chdir(folder)
  yield
  assert not any(folder.iterdir())


def same(found, expected):
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
    assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize('name', ['zip.pth', 'zip_2020.pth', 'legacy.pth'])
def test_views_and_dtypes_are_as_torch_wrote_them(name):
  with np.load(FILES / 'expected.npz', allow_pickle=False) as file:
    expected = {
      key.removeprefix('model_state/'): array
      for key, array in file.items()
      if key.startswith('model_state/')
    }
  opened = torch_files.open_file(FILES / name)
  found = opened.load()
  assert found['bfloat16'].dtype == 'bfloat16'
  same(found | {'bfloat16': found['bfloat16'].astype('f4')}, expected)
  assert (opened.container, opened.layout) == ('torch', 'model_state')
  assert opened.extras['cfg'] == 'MODEL:\n  NUM_CLASSES: 400\n'
  assert opened.names == list(found)


def test_weights_are_read_beside_objects_of_other_classes():
  opened = torch_files.open_file(FILES / 'with_namespace.pth')
  same(opened.load(), {'w': np.ones((2, 2), np.float32)})


@pytest.mark.parametrize(
  'top, layout, names, prefix',
  [
    ({'state_dict': ['a'], 'model_state': ['b']}, 'model_state', ['b'], ''),
    ({'model': ['module.model.a']}, 'model', ['a'], 'module.model.'),
    ({'module': ['model.a', 'b']}, 'module', ['model.a', 'b'], ''),
    ({'model': [], 'state_dict': ['model.a']}, 'state_dict', ['a'], 'model.'),
    (['a', 'b'], 'the top level', ['a', 'b'], ''),
  ],
)
def test_where_the_weights_are(tmp_path, top, layout, names, prefix):
  def state(keys):
    return made.dict_of(dict.fromkeys(keys, W))

  if isinstance(top, dict):
    top = {key: state(keys) for key, keys in top.items()}
    top |= {'epoch': made.number(3), 'optimizer': made.dict_of({b'K\1': W})}
    content = made.dict_of(top)
  else:
    content = state(top)
  made.write(tmp_path / 'a.pth', content, [ONE])
  file = detect.opened(tmp_path / 'a.pth')
  read, _, unread = file.layout.partition(';')
  assert (read, file.names, file.prefix) == (layout, names, prefix)
  assert ('state_dict' in unread) == (layout == 'model_state')
  same(file.load(), dict.fromkeys(names, np.ones(1, np.float32)))


MKDIR = made.call('posix mkdir', made.text('made_by_unpickling'))
HUGE = 1 << 40


def nested(levels):
  """Tuples of tuples: 2 ** levels leaves in 4 * levels bytes."""
  return b')' + b''.join(b'q\0h\0h\0\x86' for _ in range(levels))


def weights(**tensors):
  return made.dict_of({'model': made.dict_of(tensors)})


# Name -> (content of data.pkl, what the error names).
REFUSED = {
  'call': (weights(a=W, b=MKDIR), 'posix mkdir'),
  'call beside': (made.dict_of({'model': weights(a=W), 'x': MKDIR}), 'mkdir'),
  'old object': (weights(a=W, b=b'(iposix\nmkdir\n'), 'posix mkdir'),
  'older object': (weights(a=W, b=b'(cposix\nmkdir\no'), 'posix mkdir'),
  'eval': (weights(a=W, b=made.call('builtins eval', b'V1\n')), 'eval'),
  'named on the stack': (
    weights(a=W, b=b'\x8c\x05posix\x8c\x05mkdir\x93)R'), 'posix mkdir'
  ),
  'weight of a class': (weights(a=W, b=b'cmy.module\nWeight\n)\x81'), 'Weight'),
  'new tensor': (
    weights(a=W, b=made.call('torch._utils _rebuild_tensor_v3')), 'tensor_v3'
  ),
  'quantised': (
    weights(a=W, b=made.tensor('1', 1, [1], kind='QInt8')), 'QInt8'
  ),
  'list': (weights(a=W, b=b']'), 'list'),
  'deeper': (weights(a=W, b=weights(c=W)), 'dict'),
  'key': (made.dict_of({'model': made.dict_of({'a': W, b'K\1': W})}), 'key'),
  'other': (made.dict_of({'parameters': weights(a=W)}), 'state_dict'),
  'module': (made.global_of('my.nn Model') + b')\x81}b', 'my.nn Model'),
  'missing': (weights(a=made.tensor('7', 1, [1])), 'data/7'),
  'forged count': (weights(a=made.tensor('0', HUGE, [HUGE])), 'a has'),
  'beyond': (weights(a=made.tensor('0', 1, [2], [1])), 'a reaches'),
  'offset': (weights(a=made.tensor('0', 1, [1], [1], 1)), 'a reaches'),
  'negative': (weights(a=made.tensor('0', 1, [1], [1], -1)), 'file'),
  'negative size': (weights(a=made.tensor('0', 1, [-1], [1])), 'file'),
  'expanded': (weights(a=made.tensor('0', 1, [1 << 30], [0])), 'large'),
  'overflow': (weights(a=made.tensor('0', 1, [1 << 61] * 9, [0] * 9)), 'large'),
  'overflowing stride': (
    weights(a=made.tensor('0', 1, [5], [(1 << 62) - 1])), 'a reaches'
  ),
  'absurd empty': (weights(a=made.tensor('0', 1, [0, 1 << 61])), 'file'),
  'axes': (weights(a=made.tensor('0', 1, [1] * 1000)), 'file'),
  'two types': (
    weights(a=W, b=made.tensor('0', 1, [1], kind='Long')), 'file'
  ),
  'repeated': (
    made.dict_of({
      f'{n}': made.tensor('0', 1, [1 << 16], [0]) for n in range(999)
    }),
    'large',
  ),
  'hash': (made.dict_of({nested(300): W}), 'key'),
  'deep hash': (made.dict_of({b')' + b'\x85' * 20_000: W}), 'key'),
  'deep list': (b']' * 20_000 + b'a' * 19_999, 'state'),
  'huge key': (
    made.dict_of({b'\x8b\0\0\1\0' + bytes(65535) + b'\1': W}), 'key'
  ),
  'huge text': (b'X\xff\xff\xff\x7fabc', 'file'),
  'huger text': (b'\x8d' + b'\xff' * 7 + b'\x7fabc', 'file'),
  'huge bytes': (b'\x96' + b'\xff' * 5 + bytes(3), 'file'),
  'huge frame': (b'\x95' + b'\xff' * 8, 'file'),
  'endless name': (
    b'X\0\0\1\0' + bytes(1 << 16) + b'q\0' + b'h\0h\0\x93' * 9999, 'file'
  ),
  'huge memo': (b'Nr\xff\xff\xff\xff', 'state_dict'),
  'digits': (b'I' + b'9' * 100_000 + b'\n', 'file'),
  'empty stack': (b'u', 'file'),
  'unknown opcode': (b'\xff', 'file'),
  'no memo': (b'h\5', 'file'),
  'mark': (b'(', 'state_dict'),
  'extension': (b'\x82\1', 'file'),
}  # fmt: skip


def refused(path, named, peak=64 << 20):
  """Checks the error and the memory; all these files are small."""
  tracemalloc.start()
  with pytest.raises(UserError) as caught:
    sources.read(path)
  assert tracemalloc.get_traced_memory()[1] < peak
  tracemalloc.stop()
  message = str(caught.value)
  assert str(path) in message and named in message and '\n' not in message


@pytest.mark.parametrize('name', REFUSED)
@pytest.mark.parametrize('older', [False, True])
def test_hostile_and_broken_pickles_are_refused(tmp_path, name, older):
  content, named = REFUSED[name]
  path = tmp_path / 'file'
  if older:
    made.write_older(path, content, {'0': (1, ONE)})
    named = 'file' if name == 'missing' else named
  else:
    made.write(path, content, [ONE])
  refused(path, named)


@pytest.mark.parametrize(
  'name, named',
  [
    ('hostile.pth', 'posix mkdir'),
    ('hostile_legacy.pth', 'posix mkdir'),
    ('hostile.pkl', 'hostile'),
    ('cut_short.pth', 'cut_short'),
    ('whole_module.pth', 'torch.nn.modules.linear Linear'),
  ],
)
def test_files_to_refuse(name, named):
  refused(FILES / name, named)


def test_broken_containers_are_refused(tmp_path):
  path, good = tmp_path / 'file', weights(a=W)
  for options, named in (
    ({'compress': zipfile.ZIP_DEFLATED}, 'compressed'),
    ({'byteorder': 'big'}, 'big-endian'),
    ({'constants.pkl': ''}, 'TorchScript'),
    ({'code/a.py': ''}, 'TorchScript'),
    ({'storages': [ONE + ONE]}, 'size'),
    ({'storages': []}, 'data/0'),
  ):
    made.write(path, good, **({'storages': [ONE]} | options))
    refused(path, named)
  with zipfile.ZipFile(path, 'a') as archive:
    archive.writestr('other/data.pkl', b'N.')
  refused(path, 'data.pkl')
  # A member as large as no file is.
  made.write(path, weights(a=made.tensor('0', HUGE, [HUGE])), [ONE])
  content = path.read_bytes()
  end = content.rindex(b'archive/data/0') - 46
  forged = struct.pack('<II', 0xFFFFFFF0, 0xFFFFFFF0)
  path.write_bytes(content[: end + 20] + forged + content[end + 28 :])
  refused(path, 'cut short')
  for storages, little, named in (
    ({'0': (1, ONE)}, b'\x89', 'big-endian'),
    ({'0': (1, b'')}, b'\x88', 'cut short'),
    ({'0': (-1, ONE)}, b'\x88', 'cut short'),
    ({'0': (HUGE, ONE)}, b'\x88', 'cut short'),
    ({'1': (1, ONE)}, b'\x88', 'unknown'),
    ({}, b'\x88', 'size'),
  ):
    made.write_older(path, good, storages, little)
    refused(path, named)


def test_changed_bytes_are_an_error_or_other_numbers(tmp_path):
  draw = random.Random(0)
  for name in ('zip_2020.pth', 'legacy.pth'):
    content = (FILES / name).read_bytes()
    pickled = content.index(b'model_state'), content.rindex(b'cfg')
    for _ in range(300):
      changed = bytearray(content)
      where = draw.choice([(0, len(content)), pickled])
      for _ in range(draw.choice([1, 3])):
        changed[draw.randrange(*where)] = draw.randrange(256)
      (tmp_path / 'file').write_bytes(changed)
      try:
        detect.opened(tmp_path / 'file')
      except (UserError, ValueError, zipfile.BadZipFile, struct.error):
        pass
      with pytest.raises(UserError):  # no model of this package
        sources.read(tmp_path / 'file')


def test_optimiser_states_cost_no_memory(tmp_path):
  """A file with three times the weights, which come last."""
  count, path = 1 << 20, tmp_path / 'a.pth'
  tensors = [made.tensor(f'{n}', count, [count]) for n in range(4)]
  state = made.dict_of({b'K\0': b'](' + b''.join(tensors[:3]) + b'e'})
  top = {'optimizer_state': state, 'model': made.dict_of({'w': tensors[3]})}
  numbers = np.arange(4 * count, dtype='f4').reshape(4, count)
  made.write(path, made.dict_of(top), [x.tobytes() for x in numbers])
  tracemalloc.start()
  found = torch_files.open_file(path).load()
  assert tracemalloc.get_traced_memory()[1] < 1.1 * numbers[3].nbytes
  tracemalloc.stop()
  same(found, {'w': numbers[3]})


WHOLE = reference.FIXTURES / 'huggingface_vivit'
SHARDS = [f'pytorch_model-0000{n}-of-00003.bin' for n in (1, 2, 3)]


def test_a_hugging_face_folder_of_torch_is_that_of_safetensors(tmp_path):
  arrays = load_file(WHOLE / 'model.safetensors')
  expected = load.load(WHOLE).digest
  whole, sharded = tmp_path / 'whole', tmp_path / 'sharded'
  for folder in (whole, sharded):
    folder.mkdir()
    shutil.copy(WHOLE / 'config.json', folder)
  made.save(whole / 'pytorch_model.bin', arrays)
  for name in ('optimizer.pt', 'training_args.bin'):  # files of a trainer
    shutil.copy(FILES / 'hostile.pth', whole / name)
  placed = {name: SHARDS[n % 3] for n, name in enumerate(sorted(arrays))}
  for shard in SHARDS:
    own = {name: x for name, x in arrays.items() if placed[name] == shard}
    made.save(sharded / shard, own)
  index = sharded / 'pytorch_model.bin.index.json'
  index.write_text(json.dumps({'weight_map': placed}))
  for path in (whole, whole / 'pytorch_model.bin', sharded, index):
    assert load.load(path).digest == expected
  assert sources.within(sharded) == [sharded]
  assert sources.place(sharded) == index.resolve()
  (sharded / SHARDS[1]).write_bytes((sharded / SHARDS[1]).read_bytes()[:-7])
  with pytest.raises(UserError, match=SHARDS[1]):
    sources.read(sharded)


def test_the_names_that_transformers_5_has_in_memory(tmp_path):
  names = (
    ('encoder.layer', 'layers'),
    ('attention.attention.query', 'attention.q_proj'),
    ('attention.attention.key', 'attention.k_proj'),
    ('attention.attention.value', 'attention.v_proj'),
    ('attention.output.dense', 'attention.o_proj'),
    ('intermediate.dense', 'mlp.fc1'),
    ('output.dense', 'mlp.fc2'),
  )
  arrays = {}
  for name, array in load_file(WHOLE / 'model.safetensors').items():
    for in_file, in_memory in names:
      name = name.replace(in_file, in_memory)
    arrays[name] = array
  assert 'vivit.layers.0.mlp.fc2.bias' in arrays
  shutil.copy(WHOLE / 'config.json', tmp_path)
  made.save(tmp_path / 'pytorch_model.bin', arrays)
  assert load.load(tmp_path).digest == load.load(WHOLE).digest


@pytest.mark.parametrize('zipped', [True, False])
def test_what_torch_saves_is_read_bit_for_bit(tmp_path, zipped):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  draw = np.random.default_rng(0)
  kinds = 'float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool'
  weights = {}
  for name in [*kinds.split(), 'complex64', 'complex128']:
    base = torch.from_numpy(draw.uniform(0, 99, (5, 4, 6)))
    base = base.to(getattr(torch, name))
    views = (
      *(base, base[1:, ::2, 3:], base.permute(2, 0, 1), base[2, 1, 3]),
      *(base[:, :1].expand(5, 9, 6), base[3:3], base.flatten()[7:].clone()),
      base.as_strided((3, 4), (2, 1), 5),  # rows overlap
      torch.nn.Parameter(base[0].t(), requires_grad=False),
    )
    weights |= {f'{name} {n}': view for n, view in enumerate(views)}
  network = torch.nn.Linear(3, 2)
  optimiser = torch.optim.AdamW(network.parameters())
  network(torch.ones(1, 3)).sum().backward()
  optimiser.step()
  state = network.state_dict()
  state.update(weights)
  top = {'optimizer': optimiser.state_dict(), 'model': state, 'epoch': 3}
  top |= {'cfg': 'a: 1', 'args': {'lr': 0.1, 'names': [None, True, 1 << 70]}}
  path = tmp_path / 'a.pth'
  torch.save(top, path, _use_new_zipfile_serialization=zipped)
  opened = torch_files.open_file(path)
  assert (opened.layout, opened.extras) == ('model', {'cfg': 'a: 1'})
  found = opened.load()
  assert found.keys() == state.keys()
  for name, tensor in state.items():
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    assert found[name].shape == tuple(tensor.shape), name
    assert found[name].dtype == str(tensor.dtype).removeprefix('torch.'), name
    assert found[name].tobytes() == raw.tobytes(), name
