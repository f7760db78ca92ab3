"""What a model asks of a machine: interconnect, input and memory.

  python -m benchmarks.scaling
  python -m benchmarks.scaling --batch_size=128 --utilisation=0.4

Three tables in Markdown, for the paper's models on v4-32 and 8 x H100. They are
arithmetic from the parameters, GFLOPs and memory that XLA states on a CPU
(`vivit_jax.models.table`); nothing is run. docs/scaling.md has the formulas.
"""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Iterable

from benchmarks.flags import at_least, positive
from vivit_jax.commands import end_at_once
from vivit_jax.errors import exit_on_user_error
from vivit_jax.models import table

_FLOAT = 4  # bytes of float32
_REMAT = ('none', 'dots', 'full')
_counted: dict[tuple[str, str], float] = {}  # GFLOPs by `_name`


@dataclasses.dataclass(frozen=True)
class Machine:
  """Devices that train together; figures are their makers'.

  Attributes:
    name: as it is rented.
    devices, hosts: how many.
    teraflops: of a device, bfloat16 without sparsity, 1e12 operations a second.
    memory: of a device, bytes.
    bandwidth: at which a device sends in an all-reduce, bytes a second.
  """

  name: str
  devices: int
  hosts: int
  teraflops: float
  memory: float
  bandwidth: float


MACHINES = (
  # Google Cloud's page "TPU v4": 275 TFLOPS, 32 GiB; 32 cores are 16 chips, 4
  # to a host, 2x2x4 without wrap-around links. Jouppi et al., "TPU v4", ISCA
  # 2023: links of 50 GB/s; a ring in both directions takes two of a chip's.
  Machine('v4-32', 16, 4, 275.0, 32 * 2**30, 2 * 50e9),
  # NVIDIA's data sheet "H100 Tensor Core GPU", SXM: 1979 TFLOPS with sparsity,
  # half without; 80 GB; NVLink 900 GB/s, both directions together.
  Machine('8 x H100', 8, 1, 1979.0 / 2, 80e9, 900e9 / 2),
)


def all_reduce_bytes(parameters: int, devices: int) -> float:
  """Returns bytes that a device sends to average float32 gradients.

  A ring: each device sends (n - 1) / n of them to be summed, and as much again
  of the sums.
  """
  return 2 * (devices - 1) / devices * parameters * _FLOAT


def step_seconds(
  gigaflops: float, batch: int, machine: Machine, utilisation: float
) -> float:
  """Returns the time of a step's arithmetic on one device.

  Args:
    gigaflops: multiply-adds of a clip's forward pass, 1e9: two operations each.
      The backward pass takes twice the forward pass.
    batch: clips of the device.
    machine: whose device.
    utilisation: share of the device's peak that is reached.
  """
  operations = 3 * 2 * gigaflops * 1e9 * batch
  return operations / (machine.teraflops * 1e12 * utilisation)


def activation_bytes(case: table.Case, batch: int, remat: str) -> float:
  """Returns bytes that XLA keeps for the backward pass, in float32.

  All that a gradient needs besides parameters and gradients, of a model with
  scanned layers: without the scan, XLA on a CPU undoes the remat.
  """
  config = dataclasses.replace(case.config, scan=True, remat=remat)
  scanned = dataclasses.replace(case, config=config)
  whole = table.training_memory(scanned, batch) * 2**30
  return whole - 2 * table.parameters(case) * _FLOAT


def _gflops(case: table.Case) -> float:
  """Returns `table.gflops`, each a compilation, for two tables."""
  if _name(case) not in _counted:
    _counted[_name(case)] = table.gflops(case)
  return _counted[_name(case)]


def _clip_bytes(case: table.Case) -> int:
  return case.frames * case.crop * case.crop * 3


def _interconnect(
  cases: Iterable[table.Case], flags: argparse.Namespace
) -> list[tuple]:
  rows = []
  for case in cases:
    parameters, gigaflops = table.parameters(case), _gflops(case)
    for machine in MACHINES:
      sent = all_reduce_bytes(parameters, machine.devices)
      reduce = sent / machine.bandwidth
      batch = flags.batch_size // machine.devices
      step = step_seconds(gigaflops, batch, machine, flags.utilisation)
      rows.append(
        (
          *_name(case),
          machine.name,
          f'{parameters / 1e6:.1f}',
          f'{sent / 1e9:.2f}',
          f'{1e3 * reduce:.1f}',
          f'{1e3 * step:.1f}',
          f'{reduce / step:.2f}',
        )
      )
  return rows


def _input(
  cases: Iterable[table.Case], flags: argparse.Namespace
) -> list[tuple]:
  rows = []
  for case in cases:
    gigaflops = _gflops(case)
    for machine in MACHINES:
      batch = flags.batch_size // machine.devices
      step = flags.step_seconds or step_seconds(
        gigaflops, batch, machine, flags.utilisation
      )
      rate = flags.batch_size / machine.hosts / step
      rows.append(
        (
          *_name(case),
          machine.name,
          f'{1e3 * step:.1f}',
          f'{rate:.0f}',
          f'{rate * _clip_bytes(case) / 1e9:.2f}',
          f'{rate * flags.clip_seconds:.1f}',
        )
      )
  return rows


def _memory(
  cases: Iterable[table.Case], flags: argparse.Namespace
) -> list[tuple]:
  """Returns GB of a device, which has all parameters.

  Of their size are SGD's momentum, the average of `train.ema` and what
  `optim.sam_rho` moves the parameters to; what fits is without the last two.
  """
  rows = []
  for case in cases:
    copy = table.parameters(case) * _FLOAT
    for machine in MACHINES:
      batch = flags.batch_size // machine.devices
      kept = [activation_bytes(case, batch, remat) for remat in _REMAT]
      fits = [
        remat
        for remat, size in zip(_REMAT, kept)
        if 3 * copy + size <= machine.memory
      ]
      rows.append(
        (
          *_name(case),
          machine.name,
          str(batch),
          *[f'{copy / 1e9:.2f}'] * 5,
          *(f'{size / 1e9:.1f}' for size in kept),
          fits[0] if fits else 'nothing',
        )
      )
  return rows


def _name(case: table.Case) -> tuple[str, str]:
  return case.name, case.config.size


_TABLES = (
  (
    'Interconnect, a step',
    _interconnect,
    (
      'model',
      'size',
      'machine',
      'parameters, M',
      'GB sent',
      'ms at least',
      'ms of arithmetic',
      'ratio',
    ),
  ),
  (
    'Input, a host',
    _input,
    ('model', 'size', 'machine', 'ms a step', 'clips/s', 'GB/s', 'cores'),
  ),
  (
    'Memory, a device, GB',
    _memory,
    (
      'model',
      'size',
      'machine',
      'clips',
      'parameters',
      'momentum',
      'gradients',
      'EMA',
      'SAM',
      'activations: none',
      'dots',
      'full',
      'fits with',
    ),
  ),
)


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.scaling',
    description='Prints what models ask of v4-32 and 8 x H100.',
  )
  add = parser.add_argument
  add(
    '--batch_size',
    type=at_least(1),
    default=64,
    help='clips of all devices (64)',
  )
  add(
    '--utilisation',
    type=positive,
    default=1.0,
    help='share of the peak that is reached (1: the shortest possible step)',
  )
  add('--step_seconds', type=positive, help='of the input table, as measured')
  add(
    '--clip_seconds',
    type=positive,
    default=0.0208,
    help='CPU time of a clip: the sum in docs/input.md (0.0208)',
  )
  flags = parser.parse_args()
  for machine in MACHINES:
    if flags.batch_size % machine.devices:
      parser.error(f'--batch_size is a multiple of {machine.devices}')
  if flags.utilisation > 1:
    parser.error('--utilisation is at most 1')
  print(f'{flags.batch_size} clips a step, utilisation {flags.utilisation:g}')
  cases = table.published()
  for title, rows, header in _TABLES:
    print(f'\n{title}\n')
    for cells in (header, ['---'] * len(header), *rows(cases, flags)):
      print('| ' + ' | '.join(cells) + ' |', flush=True)
  return 0


if __name__ == '__main__':
  signal.signal(signal.SIGINT, end_at_once)
  with exit_on_user_error():
    sys.exit(main())
