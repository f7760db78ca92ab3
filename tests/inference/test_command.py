"""python -m vivit_jax.predict: its checks, output and files."""

import fractions
import json
import os
import pathlib
import subprocess
import sys
import types

import av
import cv2
import numpy as np
import pytest
from made import blocks, write

import vivit_jax
from vivit_jax.errors import UserError
from vivit_jax.inference import command, model_flags, outputs
from vivit_jax.inference.command import Options
from vivit_jax.inference.videos import open_video

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
  (folder / 'notes.txt').write_text('no video')
  return folder


def start(*arguments, **options):
  """Runs the command in a process of its own."""
  return subprocess.run(
    [sys.executable, '-m', 'vivit_jax.predict', *map(str, arguments)],
    **{'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | options,
    text=True,
    cwd=ROOT,
  )


def test_unreadable_videos_are_reported_and_the_others_predicted(
  run, videos, tmp_path, capsys
):
  features, folder = tmp_path / 'features.npz', tmp_path / 'seen'
  options = Options(
    views='2x1', top=2, json=True, features=str(features), explain=str(folder)
  )
  predictor = vivit_jax.load(run)
  arguments = [str(videos), 'none.mp4']
  assert command.run(arguments, options, lambda: predictor) == 1
  output = capsys.readouterr()
  lines = [json.loads(line) for line in output.out.splitlines()]
  results = {pathlib.Path(line['video']).name: line for line in lines}
  damaged = {'cut.mkv', 'empty.mp4', 'text.mp4'}
  assert results.keys() == damaged | {'0.mkv', '1.mkv'}
  assert {name for name, line in results.items() if 'error' in line} == damaged
  errors = output.err.splitlines()
  assert len(errors) == 4 and all(x.startswith('error: ') for x in errors)
  for name in (*damaged, 'none.mp4'):
    assert any(name in error for error in errors)
  with np.load(features) as file:
    rows = dict(zip(file['ids'], file['pooled'], strict=True))
  assert list(rows) == [str(videos / '0.mkv'), str(videos / '1.mkv')]
  for path, row in rows.items():
    expected = predictor.features(str(path), views='2x1')
    np.testing.assert_array_equal(row, expected)
    prediction = predictor.predict(str(path), views='2x1', top=2)
    line = results[pathlib.Path(path).name]
    assert line['heads'] == prediction.to_json()['heads']
    assert all(os.path.getsize(picture) for picture in line['pictures'])
  assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
  'arguments, changes, words',
  [
    ([], {}, 'no video'),
    (['none.mp4'], {}, 'none.mp4'),
    (['VIDEO'], {'views': '3x2'}, '--views'),
    (['VIDEO'], {'tokens': True}, '--tokens needs --features'),
    (['VIDEO'], {'explain_by': 'gradient'}, '--explain_by needs --explain'),
    (['VIDEO'], {'window': 3.0}, '--window needs --timeline'),
    (['VIDEO'], {'timeline': True, 'explain': 'x'}, '--explain'),
    (['VIDEO'], {'timeline': True, 'window': 0.0}, 'window is 0 seconds'),
    (['VIDEO'], {'features': 'VIDEO/x.npz'}, '0.mkv'),
    (['VIDEO'], {'features': 'nothing.npz'}, 'nothing.npz'),
    (['VIDEO'], {'features': 'x.txt'}, 'x.txt'),
    (['a.gif'], {'explain': '.'}, 'a.gif'),
    (['./x.npz'], {'features': 'x.npz'}, 'x.npz'),
  ],
)
def test_mistakes_are_refused_before_any_work(
  videos, tmp_path, monkeypatch, arguments, changes, words
):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('nothing.npz').mkdir()
  for name in ('a.gif', 'x.npz'):
    pathlib.Path(name).touch()
  before = sorted(tmp_path.rglob('*'))
  video = str(videos / '0.mkv')
  arguments = [text.replace('VIDEO', video) for text in arguments]
  for name, value in changes.items():
    if isinstance(value, str):
      changes = changes | {name: value.replace('VIDEO', video)}
  with pytest.raises(UserError, match=words):
    command.run(arguments, Options(**changes), pytest.fail)
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
  'changes, words',
  [
    ({}, '--workdir'),
    ({'checkpoint': 'best'}, '--checkpoint=best'),
    ({'workdir': 'none'}, 'none'),
    ({'workdir': '.', 'config': 'c.py'}, '--config'),
  ],
)
def test_flags_that_select_no_model_are_refused(changes, words):
  values = dict.fromkeys(('workdir', 'checkpoint', 'config')) | changes
  with pytest.raises(UserError, match=words):
    model_flags.check(types.SimpleNamespace(**values))


def test_a_mistake_is_one_sentence(videos):
  done = start(videos / '0.mkv', '--short_videos=cut')
  assert done.returncode == 2 and done.stdout == ''
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert '--short_videos=cut' in done.stderr


def test_text_time_lines_and_tokens(run, videos, tmp_path, capsys):
  predictor, path = vivit_jax.load(run), videos / '1.mkv'

  def lines(**options):
    arguments = [str(path)]
    assert command.run(arguments, Options(**options), lambda: predictor) == 0
    return capsys.readouterr().out.splitlines()

  ranking = predictor.predict(path).heads['noun']
  first, second, *_ = lines(top=1)
  assert first == str(path)
  assert second.split() == [
    'noun', f'{ranking.probabilities[0]:.4f}', ranking.labels[0]
  ]  # fmt: skip
  pictures, timeline = tmp_path / 'lines', {'timeline': True, 'window': 1.0}
  text = lines(**timeline, timeline_pictures=str(pictures))
  nouns = [line.split() for line in text if ' noun ' in line]
  assert nouns[0][0].startswith('0:00.0-')
  assert nouns[-1][0].endswith('-0:02.4')
  assert [path.name for path in pictures.iterdir()] == ['1.timeline.png']
  (line,) = lines(**timeline, json=True)
  windows = [x.to_json() for x in predictor.timeline(path, window=1.0, top=5)]
  assert json.loads(line)['windows'] == windows
  assert json.loads(line)['timeline'].keys() == {'noun', 'verb'}
  timeline |= {'window': 2.0, 'frames_per_second': 5}  # 24 frames in 4.8 s
  text = lines(**timeline)
  assert text[-1].split()[0].endswith('-0:04.8')
  out = tmp_path / 'new' / 'tokens.npz'
  lines(features=str(out), tokens=True)
  np.testing.assert_array_equal(
    np.load(out)['tokens'], predictor.features(path, tokens=True)[None]
  )


def test_a_model_without_a_head_gives_its_features(
  run, videos, tmp_path, capsys
):
  predictor, path = vivit_jax.load(run), videos / '1.mkv'
  expected = predictor.features(path)
  predictor.label_names = {}
  out = tmp_path / 'features.npz'
  options = Options(features=str(out))
  assert command.run([str(path)], options, lambda: predictor) == 0
  np.testing.assert_array_equal(np.load(out)['pooled'], expected[None])
  assert capsys.readouterr().out.splitlines() == [str(path)]


def test_pixels_are_square_unless_they_shall_be_as_stored(run, tmp_path):
  path = tmp_path / 'x.mp4'
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=10)
    stream.height, stream.width, stream.pix_fmt = 48, 32, 'yuv420p'
    stream.codec_context.sample_aspect_ratio = fractions.Fraction(3, 2)
    for frame in blocks(1, 30, (48, 32)):
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
    container.mux(stream.encode())
  square, stored = vivit_jax.load(run), vivit_jax.load(run, square_pixels=False)
  assert next(square.open(path).decode()).shape == (48, 48, 3)
  assert next(stored.open(path).decode()).shape == (48, 32, 3)
  assert (square.clips(path) != stored.clips(path)).any()


def test_a_folder_of_frames_is_a_video(run, tmp_path):
  """Its rate is that of the flag."""
  frames, folder = blocks(4, 30, (32, 48)), tmp_path / 'frames'
  folder.mkdir()
  for number, frame in enumerate(frames):
    name = folder / f'frame_{number:05}.png'
    assert cv2.imwrite(str(name), frame[..., ::-1])
  assert command.find_videos([str(folder)]) == ([folder], [])
  predictor = vivit_jax.load(run)
  with pytest.raises(UserError, match='--frames_per_second'):
    next(predictor.timeline(folder))
  options = {'window': 2.0, 'frames_per_second': 10}
  windows = list(predictor.timeline(folder, **options))
  expected = list(predictor.timeline(frames, **options))
  assert [x.to_json() for x in windows] == [x.to_json() for x in expected]
  assert len(windows) == 2


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_is_one_error(run, videos):
  with open('/dev/full', 'w') as full:
    done = start(
      videos / '0.mkv', videos / '1.mkv', f'--workdir={run}', stdout=full
    )
  assert done.returncode == 2
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
  for name in (
    'a.mp4', 'b.MKV', 'notes.txt', '._a.mp4', 'odd', 'clip[1].mp4',
    'deep/er/c.webm', 'deep/a.mp4', 'deep/folder.mp4/d.mp4', 'empty/none.txt',
  ):  # fmt: skip
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  pathlib.Path(tmp_path, 'link.mp4').symlink_to('a.mp4')
  os.mkfifo(tmp_path / 'deep/pipe.mp4')
  monkeypatch.chdir(tmp_path)


DEEP = [
  'deep/a.mp4', 'deep/er/c.webm', 'deep/folder.mp4/d.mp4', 'deep/pipe.mp4'
]  # fmt: skip


@pytest.mark.parametrize(
  'arguments, expected',
  [
    (['.'], ['a.mp4', 'b.MKV', 'clip[1].mp4', *DEEP]),
    (['odd', 'a.mp4'], ['odd', 'a.mp4']),  # a file may have any name
    (['**/*.webm'], ['deep/er/c.webm']),
    (['clip[1].mp4'], ['clip[1].mp4']),
    (['a.mp4', 'a*', './a.mp4', 'deep/../a.mp4', 'link.mp4'], ['a.mp4']),
    (['deep', 'deep/*'], DEEP),
  ],
)
def test_files_folders_and_globs(folder, arguments, expected):
  paths, missing = command.find_videos(arguments)
  assert [path.as_posix() for path in paths] == expected
  assert not missing


def test_missing_videos_are_named(folder):
  arguments = ['none.mp4', 'a.mp4', 'empty', '*.flv']
  paths, missing = command.find_videos(arguments)
  assert [str(path) for path in paths] == ['a.mp4']
  arguments.remove('a.mp4')
  assert len(missing) == len(arguments)
  for argument, error in zip(arguments, missing):
    assert argument in str(error)


def test_a_pipe_is_an_error_and_is_not_waited_for(folder):
  with pytest.raises(UserError, match='pipe.mp4'):
    open_video(pathlib.Path('deep/pipe.mp4'))


def test_names_of_outputs_are_unique():
  paths = ['a/x.mp4', 'b/x.mp4', 'y.mp4', 'b_x.mp4', '/b/x.mp4', 'A/X.mp4']
  names = outputs.names([pathlib.Path(path) for path in paths])
  assert names[:3] == ['a_x.mp4', 'b_x.mp4', 'y']
  assert len({name.casefold() for name in names}) == len(paths)
