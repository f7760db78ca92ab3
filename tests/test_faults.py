"""Full disks, signals and damaged files, met by the real command."""

import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys

import pytest
import simulated

from vivit_jax.checkpoints.store import Store

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = [
  f'--config={ROOT / "configs" / "moving_shapes_ti8x2_fe.py"}',
  '--config.model.options.spatial_layers=1',
  '--config.model.options.temporal_layers=1',
  '--config.data.workers=0',
  '--config.train.batch_size=4',
  '--config.train.log_every=1',
  '--config.train.checkpoint_every=2',
  '--config.train.validate_every=0',
]


def start(workdir, data_dir, *flags, largest_file=None):
  """Starts training, with files of at most so many bytes."""

  def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

  return subprocess.Popen(
    [
      sys.executable, ROOT / 'train.py', f'--workdir={workdir}',
      *FLAGS, f'--config.data.data_dir={data_dir}', *flags,
    ],
    env=simulated.environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
    preexec_fn=limit if largest_file else None,
  )  # fmt: skip


def until_step(process, number):
  """Reads what training prints, until it has made a step."""
  for line in process.stdout:
    if line.startswith(f'step {number}/'):
      return
  raise AssertionError(process.stderr.read())


def one_sentence(process):
  out, err = process.communicate(timeout=300)
  assert process.returncode == 2, out + err
  lines = [line for line in err.splitlines() if line.strip()]
  assert len(lines) == 1 and lines[0].startswith('error: '), err
  return lines[0]


def steps_of(workdir):
  with Store(workdir, read_only=True) as store:
    return store.find('last')


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_last_checkpoint_stays(prepared, tmp_path):
  """Where no file may be large, none of a checkpoint's can be written."""
  flags = ('--config.train.epochs=3',)
  first = start(tmp_path, prepared, *flags)
  until_step(first, 3)
  first.send_signal(signal.SIGTERM)
  first.communicate(timeout=120)
  step = steps_of(tmp_path)
  words = one_sentence(start(tmp_path, prepared, *flags, largest_file=200_000))
  assert 'cannot write checkpoint' in words or 'the last checkpoint' in words
  assert f'resumes from checkpoint {step}.' in words
  assert 'File too large' in words
  assert steps_of(tmp_path) == step


@pytest.mark.slow
def test_a_full_disk_is_said_long_before_the_next_checkpoint(
  prepared, tmp_path
):
  flags = ('--config.train.epochs=30', '--config.train.checkpoint_every=40')
  process = start(tmp_path, prepared, *flags, largest_file=200_000)
  out, err = process.communicate(timeout=300)
  assert process.returncode == 2 and 'File too large' in err, out + err
  steps = [int(x) for x in re.findall(r'^step (\d+)/', out, re.MULTILINE)]
  assert 39 <= max(steps) < 79


@pytest.mark.slow
@pytest.mark.parametrize(
  'which, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_to_all_processes_saves_the_step(
  prepared, tmp_path, which, code
):
  """As a terminal and a scheduler send it: to the workers too."""
  flags = ('--config.train.epochs=100', '--config.data.workers=2')
  process = start(tmp_path, prepared, *flags)
  until_step(process, 3)
  os.killpg(process.pid, which)
  out, err = process.communicate(timeout=120)
  assert process.returncode == code, out + err
  assert not err.strip(), err
  step = steps_of(tmp_path)
  said = f'stopped at step {step}; the same command resumes from there'
  assert [line for line in out.splitlines() if 'stopped' in line] == [said]
  assert step >= 3
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert json.loads(lines[-1])['step'] == step


@pytest.mark.slow
def test_a_second_signal_ends_at_once(prepared, tmp_path):
  process = start(tmp_path, prepared, '--config.train.epochs=100')
  until_step(process, 3)
  process.send_signal(signal.SIGSTOP)  # so that both come before the next step
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGINT)
  process.send_signal(signal.SIGCONT)
  out, err = process.communicate(timeout=120)
  assert process.returncode in (130, 143) and 'interrupted' in err, out + err
  assert 'stopped at' not in out
