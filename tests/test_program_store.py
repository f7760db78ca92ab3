"""Compiled programs on disk, as a store of bytes: no jax is needed."""

import multiprocessing
import os
import pathlib

import pytest

from vivit_jax import files
from vivit_jax.program_store import ProgramStore

PROGRAM = bytes(range(256)) * 4


@pytest.fixture
def said() -> list[str]:
  return []


@pytest.fixture
def store(tmp_path, said) -> ProgramStore:
  return opened(tmp_path, said)


def opened(root, said, folder='here', most_bytes=10**6):
  (root / folder).mkdir(exist_ok=True)
  return ProgramStore(root / folder, most_bytes, said.append)


def only_file(root: pathlib.Path) -> pathlib.Path:
  (path,) = root.glob('*/*')
  return path


def test_a_program_comes_back_by_its_key_alone(store, said):
  store.put('jit_f-01', PROGRAM)
  store.put('jit_f-02', b'')
  assert store.get('jit_f-01') == PROGRAM
  assert store.get('jit_f-02') == b''
  assert store.get('jit_f-03') is None
  assert not said


def test_keys_are_names_of_files_in_the_folder(tmp_path, store):
  keys = ['../../up-' + 'a' * 64, 'x' * 400 + 'b' * 64, '/root-' + 'c' * 64]
  for key in keys:
    store.put(key, key.encode())
  assert [store.get(key) for key in keys] == [key.encode() for key in keys]
  assert len(list((tmp_path / 'here').iterdir())) == len(keys)


@pytest.mark.parametrize('place', [0, 31, 32, 600, -1])
def test_a_flipped_bit_is_no_program(tmp_path, store, said, place):
  store.put('jit_f-01', PROGRAM)
  path = only_file(tmp_path)
  held = bytearray(path.read_bytes())
  held[place] ^= 4
  path.write_bytes(held)
  assert store.get('jit_f-01') is None
  assert len(said) == 1 and 'damaged' in said[0]
  assert not path.exists()
  store.put('jit_f-01', PROGRAM)
  assert store.get('jit_f-01') == PROGRAM


@pytest.mark.parametrize('length', [0, 5, 32, 33, 1000])
def test_a_part_is_no_program(tmp_path, store, said, length):
  store.put('jit_f-01', PROGRAM)
  path = only_file(tmp_path)
  path.write_bytes(path.read_bytes()[:length])
  assert store.get('jit_f-01') is None
  assert len(said) == 1


def test_another_programs_file_is_none(tmp_path, store, said):
  store.put('jit_f-01', PROGRAM)
  path = only_file(tmp_path)
  path.rename(path.with_name(path.name.replace('01', '02')))
  assert store.get('jit_f-02') is None
  assert len(said) == 1


def test_many_damaged_files_are_told_once(tmp_path, store, said):
  for number in range(3):
    store.put(f'jit_f-{number}', PROGRAM)
  for path in tmp_path.glob('*/*'):
    path.write_bytes(b'x' * 100)
  assert [store.get(f'jit_f-{number}') for number in range(3)] == [None] * 3
  assert len(said) == 1


def test_what_was_unused_for_longest_goes(tmp_path, said):
  """Of folders beside too; files of others are not counted, and stay."""
  most_bytes = 3 * (len(PROGRAM) + 32)
  old = opened(tmp_path, said, 'old', most_bytes)
  new = opened(tmp_path, said, 'new', most_bytes)
  theirs = tmp_path / 'old' / 'theirs.txt'
  theirs.write_bytes(b'x' * most_bytes)
  folder = tmp_path / 'old' / 'theirs.xla-program'
  folder.mkdir()
  os.utime(folder, (0, 0))
  for second, (where, key) in enumerate([(old, 'a'), (old, 'b'), (new, 'c')]):
    where.put(key, PROGRAM)
    for path in where._path.glob(f'{key}.*'):
      os.utime(path, (second, second))
  assert old.get('a') == PROGRAM  # which is using it
  new.put('d', PROGRAM)
  assert old.get('b') is None
  assert old.get('a') == new.get('c') == new.get('d') == PROGRAM
  assert theirs.exists() and folder.exists() and not said


def test_what_a_killed_process_left_goes_too(tmp_path, said):
  store = opened(tmp_path, said, most_bytes=2 * (len(PROGRAM) + 32))
  with pytest.raises(ZeroDivisionError):
    # The name that `put` writes under, and a part of a program.
    with files.replacing(store._file('a')) as unfinished:
      left = unfinished.with_name(unfinished.name.replace('.part', '0.part'))
      left.write_bytes(PROGRAM)
      os.utime(left, (1, 1))
      1 / 0  # noqa: B018
  store.put('b', PROGRAM)
  assert left.exists()
  store.put('c', PROGRAM)
  assert not left.exists()
  assert store.get('b') == store.get('c') == PROGRAM


def test_a_program_beyond_the_bound_is_not_kept(tmp_path, said):
  store = opened(tmp_path, said, most_bytes=len(PROGRAM))
  store.put('a', PROGRAM)
  assert not list(tmp_path.glob('*/*')) and not said


def test_a_full_disk_ends_nothing(tmp_path, store, said, monkeypatch):
  def full(path, data):
    raise OSError(28, 'No space left on device')

  store.put('a', b'before')
  monkeypatch.setattr(pathlib.Path, 'write_bytes', full)
  store.put('a', PROGRAM)
  store.put('b', PROGRAM)
  assert store.get('a') == b'before' and store.get('b') is None
  assert len(said) == 1 and 'No space left' in said[0]
  assert len(list(tmp_path.glob('*/*'))) == 1


def _write_and_read(root: str, number: int) -> list[str]:
  """Returns what was wrong: programs that nobody wrote, and warnings."""
  wrong = []
  # With room for three of four keys, so that programs are removed all along.
  store = opened(pathlib.Path(root), wrong, most_bytes=3 * 100_000 + 500)
  for turn in range(40):
    key = f'jit_f-{turn % 4}'
    store.put(key, bytes([number]) * 100_000)
    found = store.get(key)
    if found is not None and found not in [
      bytes([n]) * 100_000 for n in (1, 2)
    ]:
      wrong.append(f'{len(found)} bytes of {set(found)}')
  return wrong


def test_processes_at_once_see_whole_programs(tmp_path):
  (tmp_path / 'here').mkdir()
  with multiprocessing.get_context('spawn').Pool(2) as pool:
    found = pool.starmap(_write_and_read, [(str(tmp_path), n) for n in (1, 2)])
  assert found == [[], []]
