"""python -m vivit_jax.export, as its users start it."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import vivit_jax
from vivit_jax.inference import export_command

ROOT = pathlib.Path(vivit_jax.__file__).parents[1]


def test_a_workdir_becomes_a_folder(config, trained, tmp_path, capsys):
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
