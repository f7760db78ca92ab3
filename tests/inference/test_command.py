"""python -m vivit_jax.predict, as its users start it."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from made import blocks, write

import vivit_jax
from vivit_jax.inference import command

ROOT = pathlib.Path(vivit_jax.__file__).parents[1]


@pytest.fixture
def run(config, trained):
  """Returns a workdir."""
  return trained(config)


@pytest.fixture
def videos(tmp_path):
  folder = tmp_path / 'videos'
  for number in range(2):
    write(folder / f'{number}.mkv', blocks(number, 24, (32, 48)), 10)
  whole = (folder / '0.mkv').read_bytes()
  (folder / 'cut.mkv').write_bytes(whole[: len(whole) // 2])
  (folder / 'text.mp4').write_text('no video')
  (folder / 'empty.mp4').touch()
  (folder / 'notes.txt').write_text('not looked at')
  return folder


def predict(*arguments, **options):
  return subprocess.run(
    [sys.executable, '-m', 'vivit_jax.predict', *map(str, arguments)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    **options,
  )


@pytest.mark.slow
def test_damaged_videos_are_named_and_the_others_go_on(run, videos, tmp_path):
  out = tmp_path / 'features.npz'
  done = predict(
    videos, 'none.mp4', f'--workdir={run}', '--json', '--top=2',
    '--views=2x1', f'--features={out}', f'--explain={tmp_path / "seen"}',
  )  # fmt: skip
  assert done.returncode == 1
  lines = [json.loads(line) for line in done.stdout.splitlines()]
  told = {pathlib.Path(line['video']).name: line for line in lines}
  assert sorted(told) == ['0.mkv', '1.mkv', 'cut.mkv', 'empty.mp4', 'text.mp4']
  failed = {name for name, line in told.items() if 'error' in line}
  assert failed == {'cut.mkv', 'empty.mp4', 'text.mp4'}
  errors = done.stderr.splitlines()
  assert len(errors) == 4, done.stderr
  assert all(line.startswith('error: ') for line in errors)
  assert 'there is no video none.mp4' in errors[0]
  assert 'empty (0 bytes)' in done.stderr
  predictor = vivit_jax.load(run)
  found = np.load(out)
  assert [pathlib.Path(name).name for name in found['ids']] == [
    '0.mkv',
    '1.mkv',
  ]
  for name, row in zip(found['ids'], found['pooled']):
    expected = predictor.features(str(name), views='2x1')
    np.testing.assert_allclose(row, expected, atol=1e-5)
    one = predictor.predict(str(name), views='2x1', top=2)
    line = told[pathlib.Path(name).name]
    assert [x['label'] for x in line['heads']['noun']] == list(
      one.heads['noun'].labels
    )
    np.testing.assert_allclose(
      [x['probability'] for x in line['heads']['noun']],
      one.heads['noun'].probabilities,
      atol=1e-5,
    )
    assert all(os.path.getsize(path) for path in line['pictures'])
  assert len(list((tmp_path / 'seen').iterdir())) == 4


@pytest.mark.slow
def test_interrupts(run, tmp_path):
  path = tmp_path / 'long.mkv'
  write(path, np.tile(blocks(0, 24, (96, 128)), (250, 1, 1, 1)), 10)
  process = subprocess.Popen(
    [sys.executable, '-m', 'vivit_jax.predict', str(path)]
    + [f'--workdir={run}', '--timeline', '--window_stride=0.1'],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
  )
  assert process.stdout.readline().strip() == str(path)
  time.sleep(1)
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 130
  assert errors.strip() == 'interrupted'


HOUR = r"""
import re, sys
from vivit_jax.inference import command
code = command.main(sys.argv[1:])
status = open('/proc/self/status').read()
print(re.search(r'VmHWM:\s*(\d+) kB', status)[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='of Linux')
def test_an_hour_of_video_in_bounded_memory(run, tmp_path):
  """Raw, the hour is 36000 frames of 49 kB: 1.7 GB."""
  peaks, lines = [], []
  for seconds in (20, 3600):
    path = tmp_path / f'{seconds}.mkv'
    second = blocks(0, 10, (96, 176))
    write(path, itertools.chain(*[second] * seconds), 10, 'libx264')
    done = subprocess.run(
      [sys.executable, '-c', HOUR, str(path), f'--workdir={run}']
      + ['--timeline', '--window=6', '--views=1x1', '--json'],
      capture_output=True,
      text=True,
      cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    peaks.append(int(done.stderr) * 1024)
    lines.append(json.loads(done.stdout))
  assert len(lines[1]['windows']) == 600
  assert lines[1]['windows'][-1]['end'] == 3600
  assert lines[1]['timeline']['verb'][-1]['end'] == 3600
  assert peaks[1] - peaks[0] < 100e6


def main(*arguments):
  try:
    return command.main([str(argument) for argument in arguments])
  except SystemExit as ended:
    return ended.code


@pytest.fixture
def here(monkeypatch):
  """Lets `command.main` run in this process, and raise its sentences."""
  monkeypatch.setattr(signal, 'signal', lambda *_: None)
  monkeypatch.setattr(command.commands, 'quieten_libraries', lambda: None)
  monkeypatch.setattr(os, '_exit', sys.exit)
  for stream in ('stdout', 'stderr'):
    monkeypatch.setattr(
      type(getattr(sys, stream)), 'reconfigure', lambda *_, **__: None, False
    )


@pytest.mark.parametrize(
  ('arguments', 'why'),
  [
    ([], 'no video is given'),
    (['none.mp4', '--workdir=RUN'], 'there is no video none.mp4'),
    (['EMPTY', '--workdir=RUN'], 'holds no videos'),
    (['EMPTY/*.mp4', '--workdir=RUN'], 'matches no videos'),
    (['VIDEO'], 'give --workdir'),
    (['-dash.mp4', '--workdir=RUN'], 'give that file as ./-dash.mp4.'),
    (['VIDEO', '--workdir=RUN', '--tops=3'], 'unknown flag --tops=3;'),
    (['VIDEO', '--checkpoint=best'], 'give its --workdir too'),
    (['VIDEO', '--workdir=none'], 'there is no workdir none'),
    (['VIDEO', '--checkpoint=none'], 'there is no checkpoint at none'),
    (['VIDEO', '--workdir=RUN', '--config=c.py'], 'leave --config out'),
    (['VIDEO', '--workdir=RUN', '--checkpoint=9'], "no checkpoint '9'"),
    (['VIDEO', '--workdir=RUN', '--top=0'], '--top is 0'),
    (['VIDEO', '--workdir=RUN', '--stride=0'], '--stride is 0'),
    (['VIDEO', '--workdir=RUN', '--views=3'], "--views is '3'"),
    (['VIDEO', '--workdir=RUN', '--tokens'], '--tokens goes with --features'),
    (['VIDEO', '--workdir=RUN', '--window=3'], 'goes with --timeline'),
    (['VIDEO', '--workdir=RUN', '--timeline', '--window=0'], '--window is 0'),
    (['VIDEO', '--workdir=RUN', '--timeline', '--window=1e9'], 'is a week'),
    (
      ['VIDEO', '--workdir=RUN', '--timeline', '--explain=x'],
      '--explain is of',
    ),
    (['VIDEO', '--workdir=RUN', '--features=none/x.npz'], 'cannot write none'),
    (['VIDEO', '--workdir=RUN', '--features=VIDEO'], 'is one of the videos'),
    (['VIDEO', '--workdir=RUN', '--features=x.txt'], 'does not end in .npz'),
    (['VIDEO', '--workdir=RUN', '--explain=VIDEO'], 'cannot make the folder'),
  ],
)
def test_mistakes(
  here, config, trained, videos, tmp_path, capsys, monkeypatch, arguments, why
):
  (tmp_path / 'nothing').mkdir()
  (tmp_path / '-dash.mp4').touch()
  monkeypatch.chdir(tmp_path)
  names = {
    'RUN': str(trained(config)),
    'EMPTY': str(tmp_path / 'nothing'),
    'VIDEO': str(videos / '0.mkv'),
  }
  for name, value in names.items():
    arguments = [text.replace(name, value) for text in arguments]
  assert main(*arguments) == 2
  told = capsys.readouterr()
  assert told.out == ''
  errors = [s for s in told.err.splitlines() if 'absl' not in s]
  assert len(errors) == 1 and why in errors[0], told.err
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    '-dash.mp4', 'nothing', 'run', 'videos'
  ]  # fmt: skip


def test_text_time_lines_and_tokens(
  here, config, trained, videos, tmp_path, capsys
):
  run, path = trained(config), videos / '1.mkv'
  predictor = vivit_jax.load(run)
  assert main(path, f'--workdir={run}', '--top=1') == 0
  ranking = predictor.predict(path).heads['noun']
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == str(path)
  assert lines[1].split() == [
    'noun', f'{ranking.probabilities[0]:.4f}', ranking.labels[0]
  ]  # fmt: skip
  pictures = tmp_path / 'lines'
  assert 0 == main(
    path, f'--workdir={run}', '--timeline', '--window=1', '--window_stride=1',
    f'--timeline_pictures={pictures}',
  )  # fmt: skip
  lines = capsys.readouterr().out.splitlines()
  nouns = [line.split() for line in lines if ' noun ' in line]
  assert nouns[0][0].startswith('0:00.0-')
  assert nouns[-1][0].endswith('-0:02.4')
  assert [path.name for path in pictures.iterdir()] == ['1.timeline.png']
  out = tmp_path / 'tokens.npz'
  assert 0 == main(path, f'--workdir={run}', f'--features={out}', '--tokens')
  np.testing.assert_array_equal(
    np.load(out)['tokens'], predictor.features(path, tokens=True)[None]
  )


def test_what_is_read_is_not_written_over(
  here, config, trained, videos, capsys
):
  run, moving = trained(config), videos / 'a.gif'
  (videos / '0.mkv').rename(moving)
  content = moving.read_bytes()
  assert main(moving, f'--workdir={run}', f'--explain={videos}') == 2
  assert 'a.gif is one of the videos' in capsys.readouterr().err
  assert moving.read_bytes() == content


def test_a_pipe_is_named_and_the_others_go_on(
  here, config, trained, videos, capsys
):
  for name in ('cut.mkv', 'text.mp4', 'empty.mp4', '0.mkv'):
    (videos / name).unlink()
  os.mkfifo(videos / '0.mp4')  # no one ever writes to it
  assert main(videos, f'--workdir={trained(config)}') == 1
  told = capsys.readouterr()
  assert told.out.startswith(str(videos / '1.mkv'))
  assert f'error: {videos / "0.mp4"} is no regular file' in told.err


def test_videos_before_and_after_flags(here, config, trained, videos, capsys):
  first, second = videos / '0.mkv', videos / '1.mkv'
  assert main(first, f'--workdir={trained(config)}', second, '--top=1') == 0
  lines = capsys.readouterr().out.splitlines()
  assert [line for line in lines if 'videos' in line] == [
    str(first), str(second)
  ]  # fmt: skip


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='of Linux')
@pytest.mark.parametrize('more', [[], ['--json'], ['--timeline']])
def test_a_full_disk_is_told_of_once(run, videos, more):
  arguments = [videos / '0.mkv', videos / '1.mkv', f'--workdir={run}', *more]
  with open('/dev/full', 'w') as full:
    done = subprocess.run(
      [sys.executable, '-m', 'vivit_jax.predict', *map(str, arguments)],
      stdout=full,
      stderr=subprocess.PIPE,
      text=True,
      cwd=ROOT,
    )
  assert done.returncode == 2
  assert done.stderr.splitlines() == [
    'error: cannot write to the standard output: No space left on device.'
  ]
