"""Which videos a command line means."""

import os
import pathlib

import pytest

from vivit_jax.inference import find


@pytest.fixture
def folder(tmp_path, monkeypatch):
  for name in (
    'a.mp4',
    'b.MKV',
    'notes.txt',
    '._a.mp4',
    'odd',
    'clip[1].mp4',
    'deep/er/c.webm',
    'deep/a.mp4',
    'empty/none.txt',
  ):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  monkeypatch.chdir(tmp_path)


def found(*asked):
  paths, missing = find.find(asked)
  return [path.as_posix() for path in paths], [str(error) for error in missing]


def test_files_folders_and_globs(folder):
  everything = ['a.mp4', 'b.MKV', 'clip[1].mp4', 'deep/a.mp4']
  assert found('.') == ([*everything, 'deep/er/c.webm'], [])
  assert found('odd', 'a.mp4') == (['odd', 'a.mp4'], [])
  assert found('*')[0] == [
    'a.mp4', 'b.MKV', 'clip[1].mp4', 'deep/a.mp4', 'deep/er/c.webm'
  ]  # fmt: skip
  assert found('**/*.webm') == (['deep/er/c.webm'], [])
  assert found('clip[1].mp4') == (['clip[1].mp4'], [])
  assert found('a.mp4', 'a*', 'a.mp4')[0] == ['a.mp4']


def test_what_is_not_there(folder):
  paths, missing = found('none.mp4', 'a.mp4', 'empty', '*.flv', 'n\0')
  assert paths == ['a.mp4']
  assert missing[0] == 'there is no video none.mp4.'
  assert missing[1].startswith('the folder empty holds no videos (.3gp')
  assert missing[2].startswith("'*.flv' matches no videos")
  assert 'NUL' in missing[3]
  assert found('x' * 5000)[1] == [f'there is no video {"x" * 5000}.']


def test_names_are_different():
  paths = ['a/x.mp4', 'b/x.mp4', 'y.mp4', 'b_x.mp4', '/b/x.mp4', 'A/X.mp4']
  names = find.names([pathlib.Path(path) for path in paths])
  assert names[2] == 'y'
  assert len({name.casefold() for name in names}) == len(paths)
  assert names[:2] == ['a_x.mp4', 'b_x.mp4']


def test_one_file_by_several_spellings_is_one_video(folder, tmp_path):
  pathlib.Path('link.mp4').symlink_to('a.mp4')
  spellings = ('a.mp4', 'deep/../a.mp4', str(tmp_path / 'a.mp4'), 'link.mp4')
  assert found(*spellings)[0] == ['a.mp4']
  assert found('deep', 'deep/../deep', str(tmp_path / 'deep'))[0] == [
    'deep/a.mp4', 'deep/er/c.webm'
  ]  # fmt: skip


def test_folders_that_are_named_as_videos(folder):
  inside = pathlib.Path('deep/dir.mp4/d.mp4')
  inside.parent.mkdir()
  inside.touch()
  everything = ['deep/a.mp4', 'deep/dir.mp4/d.mp4', 'deep/er/c.webm']
  assert found('deep')[0] == everything
  assert sorted(found('deep/*')[0]) == everything


def test_pipes_are_found_and_left_to_be_told_of(folder):
  os.mkfifo('deep/pipe.mp4')
  for asked in ('deep', 'deep/*.mp4', 'deep/pipe.mp4'):
    assert 'deep/pipe.mp4' in found(asked)[0]
