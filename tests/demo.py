"""The demo's experiment with a far smaller model, and its commands."""

import json
import pathlib
import subprocess
import sys

import ml_collections
import simulated

from configs import moving_shapes_ti8x2_fe

ROOT = simulated.ROOT
SMALL = {
  'model.options.width': 16,
  'model.options.attention_heads': 2,
  'model.options.mlp_width': 32,
  'model.options.spatial_layers': 1,
  'model.options.temporal_layers': 1,
  'data.workers': 0,
  'train.batch_size': 8,
}
EPOCH = 6  # steps, of 48 training videos
# A run with random draws that logs, validates and saves.
EVENTFUL = {
  'model__stochastic_depth': 0.2,
  'augment__mixup': 0.3,
  'train__log_every': 1,
  'train__validate_every': 6,
  'train__checkpoint_every': 4,
}


def dotted(changes: dict) -> dict:
  """Returns changes of a config named `section__key` by 'section.key'."""
  return {key.replace('__', '.'): value for key, value in changes.items()}


def config(data_dir: pathlib.Path, **changes) -> ml_collections.ConfigDict:
  """Returns the experiment; a change is named `section__key`."""
  config = moving_shapes_ti8x2_fe.get_config()
  dataset = {'data.data_dir': str(data_dir)}
  config.update_from_flattened_dict(SMALL | dataset | dotted(changes))
  return config


def flags(data_dir: pathlib.Path | None = None, **changes) -> list[str]:
  """Returns the same experiment as flags of a command."""
  named = dotted(changes)
  if data_dir is not None:
    named['data.data_dir'] = data_dir
  path = ROOT / 'configs' / 'moving_shapes_ti8x2_fe.py'
  return [
    f'--config={path}',
    *(f'--config.{key}={value}' for key, value in (SMALL | named).items()),
  ]


def start(script: str, *arguments, devices: int = 1, **keys):
  """Starts a command of the repository, on so many simulated devices.

  `script` is a file, or '-m' before the name of a module.
  """
  of_module = script == '-m'
  return subprocess.Popen(
    [sys.executable, script if of_module else ROOT / script, *arguments],
    cwd=ROOT if of_module else None,
    env=simulated.environment(devices),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **keys,
  )


def finish(process: subprocess.Popen) -> str:
  """Returns what a command prints; it must succeed."""
  out, err = process.communicate(timeout=3600)  # on a machine of others too
  assert process.returncode == 0, out + err
  return out


def until_step(process: subprocess.Popen, number: int) -> None:
  """Reads what training prints, until it has made a step."""
  for line in process.stdout:
    if line.startswith(f'step {number}/'):
      return
  raise AssertionError(process.stderr.read())


def rows(workdir: pathlib.Path) -> list[dict]:
  """Returns the lines of metrics.jsonl."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def losses(workdir: pathlib.Path) -> dict[int, float]:
  """Returns step -> training loss; a step may stand there once."""
  found = [row for row in rows(workdir) if 'train/loss' in row]
  result = {row['step']: row['train/loss'] for row in found}
  assert len(result) == len(found)
  return result
