"""Time lines of live video: those of the same file."""

import json
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import served
from made import blocks, write
from test_command import ROOT

import vivit_jax
from vivit_jax.config import DataConfig
from vivit_jax.data import live
from vivit_jax.errors import UserError
from vivit_jax.inference import command, videos
from vivit_jax.inference.command import Options


@pytest.fixture
def run(config, trained):
  """Returns a workdir."""
  return trained(config)


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'videos' / 'x.mkv'
  write(path, blocks(3, 57, (32, 48)), 10)
  return path


def same(windows, others):
  windows, others = list(windows), list(others)
  assert [(w.start, w.end) for w in windows] == [
    (w.start, w.end) for w in others
  ]
  for one, other in zip(windows, others):
    for head, ranking in one.heads.items():
      np.testing.assert_allclose(
        ranking.every, other.heads[head].every, atol=1e-6
      )


def test_scores_are_those_of_the_file(run, path):
  predictor = vivit_jax.load(run)
  with served.folder(path.parent) as url:
    for options in (
      {'window': 2.0},
      {'window': 2.0, 'stride': 0.7, 'views': '2x3'},
      {'window': 60.0},  # longer than the video
    ):
      expected = list(predictor.timeline(path, **options))
      same(predictor.timeline(f'{url}/x.mkv', **options), expected)
      frames, rate = iter(blocks(3, 57, (32, 48))), {'frames_per_second': 10}
      same(predictor.timeline(frames, **rate, **options), expected)


def test_live_video_has_a_time_line_only(run):
  predictor = vivit_jax.load(run)
  for source in ('-', 'http://127.0.0.1:1/x', iter([])):
    with pytest.raises(UserError, match='timeline'):
      predictor.predict(source)
  with pytest.raises(UserError, match=r'float64 \[1, 8, 8, 3\]'):
    next(predictor.timeline(iter([np.zeros((8, 8, 3))]), frames_per_second=5))


def test_json_is_a_line_for_each_window(run, path, capsys):
  predictor = vivit_jax.load(run)
  expected = list(predictor.timeline(path, window=2.0, top=1))[:2]
  with served.folder(path.parent) as url:
    options = Options(window=2.0, seconds=4.0, json=True, top=1)
    assert command.run([f'{url}/x.mkv'], options, lambda: predictor) == 0
  lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
  assert lines == [
    {'video': f'{url}/x.mkv'} | window.to_json() for window in expected
  ]


def test_a_dead_stream_keeps_what_was_predicted(
  run, path, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(live, '_PATIENCE', 1.0)
  predictor, data = vivit_jax.load(run), path.read_bytes()
  options = Options(window=1.0, timeline_pictures=str(tmp_path / 'pictures'))
  with served.silent_after(data[: len(data) * 3 // 4]) as url:
    assert command.run([url], options, lambda: predictor) == 1
  output = capsys.readouterr()
  assert output.err.count('\n') == 1 and url in output.err
  assert {'noun', 'verb'} <= set(output.out.split())
  assert len(list((tmp_path / 'pictures').iterdir())) == 1


@pytest.mark.parametrize(
  'arguments, changes, words',
  [
    (['-', 'x.mp4'], {}, 'standard input'),
    (['rtsp://u:p@h/x?key=1', 'x.mp4'], {}, '^rtsp://h/x '),
    (['http://x/y'], {'explain': 'x'}, 'http://x/y.*--explain'),
    (['http://x/y'], {'features': 'x.npz'}, '--features'),
    (['http://x/y'], {'seconds': 0.0}, '--seconds'),
    (['ROOT/README.md'], {'seconds': 3.0}, '--seconds'),
    (['ROOT/README.md'], {'frames_per_second': 0.0}, 'frames_per_second'),
  ],
)
def test_mistakes_are_refused(arguments, changes, words):
  arguments = [x.replace('ROOT', str(ROOT)) for x in arguments]
  with pytest.raises(UserError, match=words):
    command.run(arguments, Options(**changes), pytest.fail)


@pytest.mark.parametrize('argument', ['http://127.0.0.1:1/x', 'ROOT/README.md'])
def test_a_missing_window_is_refused_before_any_video(argument, capsys):
  data = DataConfig(sampling='segments')
  model = types.SimpleNamespace(config=types.SimpleNamespace(data=data))
  with pytest.raises(UserError, match='--window'):
    argument = argument.replace('ROOT', str(ROOT))
    command.run([argument], Options(timeline=True), lambda: model)
  assert capsys.readouterr() == ('', '')


def test_seconds_may_not_be_less_than_a_frame(path):
  with served.folder(path.parent) as url:
    with pytest.raises(UserError, match=r'x.mkv.* 0\.1'):
      videos.open_live(f'{url}/x.mkv', seconds=0.01)
    (frame,) = videos.open_live(f'{url}/x.mkv', seconds=0.1).decode()
    assert frame.shape == (32, 48, 3)


def start(run, *arguments):
  return subprocess.Popen(
    [sys.executable, '-m', 'vivit_jax.predict', '-', f'--workdir={run}',
     '--window=2', *arguments],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    cwd=ROOT,
  )  # fmt: skip


def test_a_pipe_has_the_lines_of_the_file(run, path, capsys):
  predictor, options = vivit_jax.load(run), Options(timeline=True, window=2.0)
  assert command.run([str(path)], options, lambda: predictor) == 0
  expected = capsys.readouterr().out.splitlines()
  out, err = start(run).communicate(path.read_bytes())
  assert not err, err
  lines = out.decode().splitlines()
  assert lines[1:] == expected[1:] and len(lines) > 3


def test_ctrl_c_keeps_and_ends_the_time_line(run, tmp_path):
  """The lines come while the pipe is open; those of open labels at the end."""
  path = tmp_path / 'long.mkv'
  write(path, blocks(3, 137, (32, 48)), 10)
  expected = list(vivit_jax.load(run).timeline(path, window=2.0))
  process = start(run, '--json', f'--timeline_pictures={tmp_path / "pictures"}')
  process.stdin.write(path.read_bytes())
  process.stdin.flush()
  lines = [json.loads(process.stdout.readline()) for _ in range(3)]
  process.send_signal(signal.SIGINT)
  rest, errors = process.stdout.read(), process.stderr.read()
  assert process.wait() == 130
  assert errors.split() == [b'interrupted']
  lines += [json.loads(line) for line in rest.splitlines()]
  for line, window in zip(lines[:3], expected):
    assert (line['start'], line['end']) == (window.start, window.end)
    assert line['heads']['noun'][0]['label'] == window.heads['noun'].labels[0]
  assert len(list((tmp_path / 'pictures').iterdir())) == 1
