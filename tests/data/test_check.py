"""The check of records and folders of videos names what is damaged."""

import os
import pathlib
import subprocess
import sys

import pytest
from conftest import names, run, write_broken

from vivit_jax.data import check
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def state(folder):
  return {
    path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.exists()
  }


def test_a_folder_of_videos(videos, capsys):
  (videos / 'notes.txt').write_text('not a video')
  assert check.check(videos, workers=1) == []
  assert '10 videos, 0 ' in capsys.readouterr().out
  reasons = write_broken(videos)
  del reasons['missing.mp4']
  (videos / 'below').mkdir()
  os.rename(videos / 'cut.mp4', videos / 'below' / 'cut.MP4')
  reasons['below/cut.MP4'] = reasons.pop('cut.mp4')
  before = state(videos)
  faults = dict(check.check(videos, workers=2))
  assert faults.keys() == reasons.keys()
  for name, reason in reasons.items():
    assert reason in faults[name]
  assert state(videos) == before
  output = capsys.readouterr().out
  assert 'below/cut.MP4 is ' in output and '14 videos, 4 ' in output


def test_records(tmp_path, videos, capsys):
  folder = run(tmp_path, names(5)).folder
  for path in (folder, folder.parent):
    assert check.check(path, workers=1) == []
  shard = folder / 'videos-train.array_record-00003-of-00005'
  content = bytearray(shard.read_bytes())
  content[len(content) // 2] ^= 1
  shard.write_bytes(content)
  before = state(tmp_path)
  ((which, reason),) = check.check(folder, workers=1)
  assert which == 'train: 3.mp4' and '--overwrite' in reason
  assert state(tmp_path) == before
  shard.unlink()
  with pytest.raises(UserError, match='00003-of-00005'):
    check.check(folder, workers=1)


def test_a_folder_without_videos_is_refused(tmp_path):
  for path in (tmp_path / 'absent', tmp_path):
    with pytest.raises(UserError, match=str(path)):
      check.check(path)


@pytest.mark.slow
def test_the_exit_code_tells_scripts(videos):
  def run_command():
    return subprocess.run(
      [sys.executable, '-m', 'vivit_jax.data.check', videos, '--workers=1'],
      cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip

  assert run_command().returncode == 0
  (videos / '3.mp4').write_bytes(b'')
  done = run_command()
  assert done.returncode == 1
  assert '3.mp4 is empty (0 bytes)' in done.stdout
