"""The launchers, as far as they can be checked without their services."""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import shellcheck
import yaml

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / 'launch'
SCRIPTS = sorted(path.name for path in LAUNCH.glob('*.sh'))
FLAGS = ['--config=configs/x.py', '--workdir=/mnt/a run', '--config.b="&\\']


def dry_run(script, *arguments, **environment):
  """Returns the lines that a script prints instead of what it would run."""
  done = subprocess.run(
    [LAUNCH / script, *arguments],
    env=os.environ | {'DRY_RUN': '1'} | environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.splitlines()


@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_are_bash_and_can_be_run(script):
  subprocess.run(['bash', '-n', LAUNCH / script], check=True)
  assert os.access(LAUNCH / script, os.X_OK)


@shellcheck.needed
@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_pass_shellcheck(script):
  assert not shellcheck.faults(LAUNCH / script)


@pytest.mark.parametrize(
  'script, name', [('tpu_pod.sh', 'NAME'), ('gke.sh', 'NAME')]
)
def test_what_is_missing_is_named(script, name):
  done = subprocess.run([LAUNCH / script], capture_output=True, text=True)
  assert done.returncode != 0 and f'{name}: is missing' in done.stderr


def test_slurm_runs_one_task_of_train():
  (line,) = dry_run('slurm.sh', *FLAGS, SLURM_SUBMIT_DIR=str(ROOT))
  assert shlex.split(line) == [
    'srun', '--kill-on-bad-exit=1', '.venv/bin/python', 'train.py', *FLAGS
  ]  # fmt: skip
  (line,) = dry_run('slurm.sh', SLURM_CPUS_PER_TASK='12', PYTHON='python3')
  assert '--cpus-per-task=12 python3 train.py' in line


# Stand in for Slurm's programs: srun hands signals on, as the real one does.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
shift 2  # the interpreter and train.py
exec {python} {folder}/fake.py "$@"
"""
FAKE = """
import pathlib, signal, sys, time
folder = pathlib.Path(__file__).parent
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit(143)))
(folder / 'ready').touch()
if sys.argv[1] == 'wait':
  time.sleep(60)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def slurm(tmp_path):
  """Returns a function that starts slurm.sh among programs that stand in."""
  (tmp_path / 'fake.py').write_text(FAKE)
  programs = {
    'srun': SRUN.format(python=sys.executable, folder=tmp_path),
    'scontrol': f'#!/bin/sh\necho "$@" > {tmp_path}/requeued\n',
    'squeue': f'#!/bin/sh\ncat {tmp_path}/state\n',
  }
  for name, text in programs.items():
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755)
  (tmp_path / 'state').write_text('RUNNING\n')

  def start(*arguments):
    return subprocess.Popen(
      ['bash', LAUNCH / 'slurm.sh', *arguments],
      env=os.environ
      | {
        'PATH': f'{tmp_path}:{os.environ["PATH"]}',
        'SLURM_JOB_ID': '7',
        'FINISHED': str(tmp_path / 'finished'),
      },
      stdout=subprocess.PIPE,
      text=True,
    )

  return start


@pytest.mark.parametrize('state, again', [('RUNNING', True), ('', False)])
def test_slurm_puts_a_job_that_was_stopped_back(slurm, tmp_path, state, again):
  (tmp_path / 'state').write_text(f'{state}\n')
  process = slurm('wait')
  while not (tmp_path / 'ready').exists():
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)
  out, _ = process.communicate(timeout=30)
  assert process.returncode == 143
  assert (tmp_path / 'requeued').exists() == again
  if again:
    assert (tmp_path / 'requeued').read_text() == 'requeue 7\n'
    assert 'the job 7 goes back into the queue' in out
  assert not (tmp_path / 'finished').exists()


@pytest.mark.parametrize('code', [0, 2])
def test_slurm_leaves_a_job_that_ended_by_itself(slurm, tmp_path, code):
  process = slurm(str(code))
  process.communicate(timeout=30)
  assert process.returncode == code
  assert not (tmp_path / 'requeued').exists()
  assert (tmp_path / 'finished').exists() == (code == 0)


POD = {'NAME': 'pod', 'ZONE': 'z', 'TYPE': 'v4-32', 'TMPDIR': '/tmp'}


def test_a_pod_is_made_filled_and_set_to_work():
  lines = dry_run('tpu_pod.sh', 'run', *FLAGS, **POD, PREPARE='mount /mnt')
  create, prepare, archive, copy, install, train = map(shlex.split, lines)
  of_pod = ['gcloud', 'compute', 'tpus', 'tpu-vm']
  here = ['--zone=z', '--quiet']
  assert create == [
    *of_pod, 'create', 'pod', *here, '--accelerator-type=v4-32',
    '--version=tpu-ubuntu2204-base',
  ]  # fmt: skip
  ssh = [*of_pod, 'ssh', 'pod', *here, '--worker=all']
  assert prepare == [*ssh, '--command=mount /mnt']
  commit = subprocess.run(
    ['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True, text=True
  ).stdout.strip()
  file = f'/tmp/vivit_jax-{commit}.tar'
  assert archive[:2] == ['git', 'archive'] and archive[-1] == commit
  assert f'--output={file}' in archive
  assert copy == [
    *of_pod, 'scp', file, 'pod:vivit_jax.tar', *here, '--worker=all'
  ]  # fmt: skip
  assert install[:-1] == ssh and 'jax[tpu]==' in install[-1]
  assert train[:-1] == ssh
  remote = shlex.split(train[-1].removeprefix('--command='))
  assert remote == ['bash', 'vivit_jax/launch/tpu_worker.sh', *FLAGS]
  for line in (install[-1], train[-1]):
    command = line.removeprefix('--command=')
    subprocess.run(['bash', '-n', '-c', command], check=True)


def test_a_pod_without_flags_or_type():
  remote = shlex.split(dry_run('tpu_pod.sh', 'run', **POD)[-1])[-1]
  assert shlex.split(remote.removeprefix('--command=')) == [
    'bash', 'vivit_jax/launch/tpu_worker.sh'
  ]  # fmt: skip
  environment = os.environ | POD | {'DRY_RUN': '1'}
  del environment['TYPE']
  done = subprocess.run(
    [LAUNCH / 'tpu_pod.sh', 'run'],
    env=environment,
    capture_output=True,
    text=True,
  )
  assert 'TYPE: is missing: as in v4-32' in done.stderr


def test_a_pod_of_a_queue_and_a_clone():
  lines = dry_run(
    'tpu_pod.sh', 'run', **POD, QUEUED='1', SPOT='1', CLONE='https://x/y'
  )
  assert 'queued-resources create pod --node-id=pod' in lines[0]
  assert '--spot' in lines[0] and '--runtime-version=tpu-ubuntu' in lines[0]
  assert not any('archive' in line or ' scp ' in line for line in lines)
  assert any('clone' in line for line in lines)
  assert 'queued-resources delete pod' in dry_run(
    'tpu_pod.sh', 'delete', **POD, QUEUED='1'
  )[0]  # fmt: skip
  (stop,) = dry_run('tpu_pod.sh', 'stop', **POD)
  assert 'kill' in stop and '--worker=all' in stop


# Stands in for gcloud: the slice is lost in the first run of training.
GCLOUD = """#!/usr/bin/env bash
echo "$4" "${{@: -1}}" >> {folder}/calls
case "$4" in
  describe) cat {folder}/state 2>/dev/null ;;
  create) echo READY > {folder}/state ;;
  delete) rm {folder}/state ;;
  ssh) case "${{@: -1}}" in *tpu_worker*)
    code=$(head -n 1 {folder}/codes)
    sed -i 1d {folder}/codes
    if [[ $code == lost ]]; then echo PREEMPTED > {folder}/state; exit 255; fi
    echo "train.py ended with code 0"
    echo "train.py ended with code $code"
    exit "$code"
  esac ;;
esac
"""


@pytest.mark.parametrize(
  'codes, ends, creates, trains',
  [
    (['lost', '0'], 0, 2, 2),
    (['130', '0'], 0, 1, 2),
    (['2', '0'], 2, 1, 1),
    (['1', '1', '1', '1'], 1, 1, 3),
  ],
)
def test_a_pod_that_is_lost_is_made_again(
  tmp_path, codes, ends, creates, trains
):
  (tmp_path / 'gcloud').write_text(GCLOUD.format(folder=tmp_path))
  (tmp_path / 'gcloud').chmod(0o755)
  (tmp_path / 'codes').write_text(''.join(f'{code}\n' for code in codes))
  environment = POD | {
    'PATH': f'{tmp_path}:{os.environ["PATH"]}',
    'TMPDIR': str(tmp_path),
    'PAUSE': '0',
    'ATTEMPTS': '3',
  }
  done = subprocess.run(
    [LAUNCH / 'tpu_pod.sh', 'run', '--config=c.py'],
    env=os.environ | environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == ends, done.stderr
  calls = (tmp_path / 'calls').read_text().splitlines()
  assert sum(call.startswith('create') for call in calls) == creates
  assert sum('tpu_worker' in call for call in calls) == trains


def test_a_worker_goes_on_when_the_connection_is_lost(tmp_path):
  (tmp_path / 'launch').mkdir()
  worker = shutil.copy(LAUNCH / 'tpu_worker.sh', tmp_path / 'launch')
  (tmp_path / 'train.py').write_text(
    'import pathlib, sys, time\n'
    "open('starts', 'a').write('x')\n"
    "print('begins', *sys.argv[1:], flush=True)\n"
    "while not pathlib.Path('end').exists():\n  time.sleep(0.05)\n"
    "print('ends')\nsys.exit(130)\n"
  )

  def start():
    return subprocess.Popen(
      ['bash', worker, '--a=b c'],
      env=os.environ | {'PYTHON': sys.executable},
      stdout=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  first = start()
  assert first.stdout.readline() == 'begins --a=b c\n'
  os.killpg(first.pid, signal.SIGKILL)
  first.communicate()
  second = start()
  assert second.stdout.readline() == 'begins --a=b c\n'
  (tmp_path / 'end').touch()
  out, _ = second.communicate(timeout=30)
  assert out == 'ends\ntrain.py ended with code 130\n'
  assert second.returncode == 130
  assert (tmp_path / 'starts').read_text() == 'x'


def test_the_jobset_is_whole():
  flags = [*FLAGS, '--config.tab=a\tb', '--config.lines=a\nb\\n']
  text = '\n'.join(
    dry_run('gke.sh', *flags, NAME='run', IMAGE='i/v:1', CLAIM='a&b')
  )
  assert '__' not in text
  jobset = yaml.safe_load(text)
  assert jobset['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  assert jobset['kind'] == 'JobSet' and jobset['metadata'] == {'name': 'run'}
  (group,) = jobset['spec']['replicatedJobs']
  job = group['template']['spec']
  assert (group['name'], group['replicas']) == ('slice', 1)
  assert job['parallelism'] == job['completions'] == 4
  assert job['completionMode'] == 'Indexed' and job['backoffLimit'] == 0
  assert jobset['spec']['failurePolicy']['maxRestarts'] > 0
  pod = job['template']['spec']
  assert pod['restartPolicy'] == 'Never'  # which podFailurePolicy asks for
  (container,) = pod['containers']
  assert container['image'] == 'i/v:1' and container['args'] == flags
  assert container['resources']['limits'] == {'google.com/tpu': 4}
  (rule,) = job['podFailurePolicy']['rules']
  assert rule['onExitCodes']['containerName'] == container['name']
  assert rule['onExitCodes']['values'] == [2]
  mounted = {mount['name'] for mount in container['volumeMounts']}
  assert mounted == {volume['name'] for volume in pod['volumes']}
  assert pod['volumes'][0]['persistentVolumeClaim']['claimName'] == 'a&b'
  chips = 1
  for side in pod['nodeSelector']['cloud.google.com/gke-tpu-topology'].split(
    'x'
  ):
    chips *= int(side)
  assert chips == 4 * job['parallelism']


def test_the_image_has_no_data_runs_or_history():
  left_out = (ROOT / '.dockerignore').read_text().split()
  assert {'.git', '.venv', 'data', 'runs'} <= set(left_out)
  there = {path.name for path in ROOT.iterdir()} & set(left_out)
  tracked = subprocess.run(
    ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True
  ).stdout.splitlines()
  assert not {path.split('/')[0] for path in tracked} & there
