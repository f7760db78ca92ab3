"""What the flags of the benchmarks take, and how a wrong one is told."""

import argparse
import importlib
import os
import signal
import subprocess
import sys

import pytest

from benchmarks import flags, memory
from vivit_jax.errors import UserError


@pytest.mark.parametrize(
  'least, text, told',
  [
    (1, '0', '0 is less than 1'),
    (1, '-3', '-3 is less than 1'),
    (8, '7', '7 is less than 8'),
    (1, '1.5', "'1.5' is no whole number"),
    (1, '', "'' is no whole number"),
  ],
)
def test_whole_numbers_have_a_least_one(least, text, told):
  with pytest.raises(argparse.ArgumentTypeError) as error:
    flags.at_least(least)(text)
  assert str(error.value) == told
  assert flags.at_least(least)(str(least)) == least
  assert flags.at_least(least)('12') == 12


@pytest.mark.parametrize(
  'text, told',
  [
    ('0', '0 is no finite number above 0'),
    ('-0.5', '-0.5 is no finite number above 0'),
    ('nan', 'nan is no finite number above 0'),
    ('inf', 'inf is no finite number above 0'),
    ('two', "'two' is no number"),
  ],
)
def test_what_must_be_above_0(text, told):
  with pytest.raises(argparse.ArgumentTypeError) as error:
    flags.positive(text)
  assert str(error.value) == told
  assert flags.positive('1e-3') == 0.001


def test_a_folder_is_made_and_left_empty(tmp_path):
  flags.make_folder('--cache', tmp_path / 'a' / 'b')
  assert (tmp_path / 'a' / 'b').is_dir()
  assert not list((tmp_path / 'a' / 'b').iterdir())
  flags.make_folder('--cache', tmp_path / 'a')  # as well as one that is there


def test_what_is_no_folder_is_told_and_stays(tmp_path):
  file = tmp_path / 'file'
  file.write_text('mine')
  with pytest.raises(UserError, match=rf'--cache: .* {file} \(it is a file\)'):
    flags.make_folder('--cache', file)
  with pytest.raises(UserError, match='Not a directory.*name another folder'):
    flags.make_folder('--cache', file / 'below')
  assert file.read_text() == 'mine'


@pytest.mark.parametrize(
  'name, flag, told',
  [
    ('views', '--videos=0', 'argument --videos: 0 is less than 1'),
    ('start_up', '--rounds=-1', 'argument --rounds: -1 is less than 1'),
    ('logging_cost', '--turns=1', 'argument --turns: 1 is less than 2'),
    ('weak_scaling', '--devices=0', 'argument --devices: 0 is less than 1'),
    ('memory', '--batch=0', 'argument --batch: 0 is less than 1'),
    ('end_to_end', '--videos=7', 'argument --videos: 7 is less than 8'),
    ('input_pipeline', '--seconds=0', 'argument --seconds: 0 is no finite'),
    ('scaling', '--batch_size=24', '--batch_size is a multiple of 16'),
    ('scaling', '--utilisation=1.1', '--utilisation is at most 1'),
    ('trials', '--rounds=1', 'argument --rounds: 1 is less than 2'),
    ('compile_time', '--rounds=x', "argument --rounds: 'x' is no whole"),
    ('checkpoint_stall', '--step_seconds=0', 'argument --step_seconds: 0 is'),
  ],
)
def test_a_wrong_flag_ends_with_a_sentence(
  name, flag, told, monkeypatch, capsys
):
  module = importlib.import_module(f'benchmarks.{name}')
  takes_flags = module.main.__code__.co_argcount
  monkeypatch.setattr(sys, 'argv', [name, flag])
  with pytest.raises(SystemExit) as end:
    module.main(*[[flag]][:takes_flags])
  assert end.value.code == 2
  said = capsys.readouterr()
  assert f'error: {told}' in said.err.splitlines()[-1]
  assert not said.out


def test_memory_is_not_asked_of_clips_without_whole_tubelets():
  told = 'clips of 32 x 17 x 17 cannot be cut into tubelets of 2x16x16'
  with pytest.raises(UserError, match=told):
    memory.main(['--crop=17', '--configs'])
  with pytest.raises(UserError, match='clips of 3 x 224 x 224 cannot'):
    memory.main(['--frames=3', '--configs'])


@pytest.mark.parametrize(
  'command, told',
  [
    ('end_to_end --cache=FILE', '--cache: nothing can be written to FILE'),
    ('input_pipeline --cache=FILE', '--cache: nothing can be written to FILE'),
    (
      'input_pipeline --data_dir=FILE --dataset=videos/foo',
      "no dataset 'videos/foo' is prepared in FILE",
    ),
  ],
)
def test_folders_that_do_not_do_are_told_in_a_sentence(command, told, tmp_path):
  file = tmp_path / 'file'
  file.touch()
  done = _run(command.replace('FILE', str(file)))
  assert done.returncode == 2
  (said,) = done.stderr.splitlines()
  assert said.startswith(f'error: {told}'.replace('FILE', str(file)))
  assert not done.stdout


def _run(command):
  return subprocess.run(
    [sys.executable, '-m', *f'benchmarks.{command}'.split()],
    capture_output=True,
    text=True,
    check=False,
  )


def test_an_interrupt_while_others_work_ends_all_without_a_traceback(
  tmp_path, ctrl_c_heeded
):
  """As a terminal does it: the signal goes to all processes."""
  command = f'benchmarks.input_pipeline --cache={tmp_path}'
  with subprocess.Popen(
    [sys.executable, '-m', *command.split()],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  ) as process:
    begun = process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=60)
  assert begun.startswith('writing 24 videos')
  assert process.returncode == 130
  assert 'interrupted' in said.splitlines()
  assert 'Traceback' not in said
  assert not out
