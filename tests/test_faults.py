"""Full disks, signals and damaged files, met by the real command."""

import os
import re
import resource
import signal

import demo
import pytest
from demo import until_step

from vivit_jax.checkpoints.store import Store

SMALL_FILE = 200_000  # bytes


def start(workdir, data_dir, largest_file=None, **changes):
  """Starts training, with files of at most so many bytes."""
  keys = dict(
    model__options__width=192,  # checkpoints are larger than SMALL_FILE
    train__batch_size=4,
    train__log_every=1,
    train__checkpoint_every=2,
    train__validate_every=0,
  )

  def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

  return demo.start(
    'train.py',
    f'--workdir={workdir}',
    *demo.flags(data_dir, **(keys | changes)),
    # The limit would truncate programs in the cache that all tests share.
    *(['--compilation_cache=off'] if largest_file else []),
    start_new_session=True,
    preexec_fn=limit if largest_file else None,
  )


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
  first = start(tmp_path, prepared, train__epochs=3)
  until_step(first, 3)
  first.send_signal(signal.SIGTERM)
  first.communicate(timeout=120)
  step = steps_of(tmp_path)
  words = one_sentence(
    start(tmp_path, prepared, largest_file=SMALL_FILE, train__epochs=3)
  )
  assert 'cannot write checkpoint' in words or 'the last checkpoint' in words
  assert f'resumes from checkpoint {step}.' in words
  assert 'File too large' in words
  assert steps_of(tmp_path) == step


@pytest.mark.slow
def test_a_full_disk_is_said_long_before_the_next_checkpoint(
  prepared, tmp_path
):
  keys = dict(train__epochs=30, train__checkpoint_every=40)
  process = start(tmp_path, prepared, largest_file=SMALL_FILE, **keys)
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
  process = start(tmp_path, prepared, train__epochs=100, data__workers=2)
  until_step(process, 3)
  os.killpg(process.pid, which)
  out, err = process.communicate(timeout=120)
  assert process.returncode == code, out + err
  assert not err.strip(), err
  step = steps_of(tmp_path)
  said = f'stopped at step {step}; the same command resumes from there'
  assert [line for line in out.splitlines() if 'stopped' in line] == [said]
  assert step >= 3
  assert demo.rows(tmp_path)[-1]['step'] == step
