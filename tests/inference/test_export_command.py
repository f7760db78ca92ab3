"""python -m vivit_jax.export, as its users start it."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import vivit_jax
from vivit_jax.errors import UserError
from vivit_jax.inference import export_command, exported

ROOT = pathlib.Path(vivit_jax.__file__).parents[1]


def test_a_workdir_becomes_a_folder(
  config, trained, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(signal, 'signal', lambda *_: None)
  workdir, out = trained(config), tmp_path / 'exported'
  arguments = [f'--workdir={workdir}', f'--out={out}', '--platforms=cpu']
  more = ['--resize=48x64', '--parameters=beside', '--multi_label=verb']
  assert export_command.main(arguments + more) == 0
  assert str(out / 'model.jax_export') in capsys.readouterr().out
  about = json.loads((out / 'model.json').read_text())
  assert about['inputs']['video']['shape'] == ['b', 4, 48, 64, 3]
  assert about['platforms'] == ['cpu']
  assert about['outputs']['verb']['probabilities'].startswith('sigmoid')
  assert about['outputs']['noun']['probabilities'].startswith('softmax')
  model = jax.export.deserialize(
    bytearray((out / 'model.jax_export').read_bytes())
  )
  with np.load(out / 'parameters.npz') as file:
    parameters = [file[name] for name in sorted(file.files)]
  # A clip of the video, whole: 4 frames, every third one.
  video = np.random.default_rng(0).integers(0, 256, (10, 48, 64, 3), np.uint8)
  predictor = vivit_jax.load(workdir, multi_label=['verb'])
  expected = predictor.predict(video, views='1x1').heads
  for head, shares in model.call(parameters, video[None, ::3]).items():
    np.testing.assert_allclose(shares[0], expected[head].every, atol=0.02)


@pytest.mark.parametrize(
  'arguments, words',
  [
    (['--out=there'], 'give --workdir of a run, or --checkpoint=PATH'),
    (['--out=there', '--workdir=x', '--resize=48'], "--resize is '48'"),
    (['--out=there', '--workdir=nowhere'], 'there is no workdir nowhere'),
    (['--out=there', '--checkpoint=best'], 'is of a run: give its --workdir'),
  ],
)
def test_mistakes_are_one_sentence(arguments, words, tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'vivit_jax.export', *arguments],
    cwd=tmp_path,
    env={'PYTHONPATH': str(ROOT), 'PATH': '', 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert words in done.stderr
  assert not list(tmp_path.iterdir())


@pytest.fixture
def run(config, trained):
  """Returns a workdir."""
  return trained(config)


INTERRUPTED = """
import gc, os, signal, sys
from vivit_jax.inference import export_command, exported_readme

def interrupt(*_):
  gc.callbacks.clear()
  os.kill(os.getpid(), signal.SIGINT)

def text(*_):
  print(*os.listdir(sys.argv[2]), flush=True)
  gc.callbacks[:] = [interrupt]
  gc.collect()
  return ''

exported_readme.text = text
out = os.path.join(sys.argv[2], 'exported')
sys.exit(export_command.main(
  ['--workdir=' + sys.argv[1], '--out=' + out, '--platforms=cpu']
))
"""


def test_an_interrupt_within_a_collection_of_garbage_is_not_lost(run, tmp_path):
  (tmp_path / 'into').mkdir()
  done = subprocess.run(
    [sys.executable, '-c', INTERRUPTED, str(run), str(tmp_path / 'into')],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.stdout.startswith('.exported.')  # it was half-written
  assert done.returncode == 130, done.stderr
  assert done.stderr.strip() == 'interrupted'
  assert not os.listdir(tmp_path / 'into')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='of Linux')
def test_a_full_disk_is_told_of(run, tmp_path):
  with open('/dev/full', 'w') as full:
    done = subprocess.run(
      [sys.executable, '-m', 'vivit_jax.export', f'--workdir={run}']
      + [f'--out={tmp_path / "exported"}', '--platforms=cpu'],
      stdout=full,
      stderr=subprocess.PIPE,
      text=True,
      cwd=ROOT,
    )
  assert done.returncode == 2
  assert done.stderr.splitlines() == [
    'error: cannot write to the standard output: No space left on device.'
  ]


def test_a_file_in_the_way_is_named(config, trained, tmp_path):
  run, path = trained(config), tmp_path / 'a.txt'
  path.touch()
  with pytest.raises(UserError, match=r'a\.txt is no folder'):
    predictor = vivit_jax.load(run)
    exported.export(predictor, path / 'b' / 'c', exported.Options())
  assert path.is_file()
