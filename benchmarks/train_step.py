"""Speed of our forward pass and training step against plain flax and torch.

  python -m benchmarks.train_step --family=joint --size=B
  python -m benchmarks.train_step --family=joint --torch_python=PATH/python
  python -m benchmarks.train_step --family=joint --what=forward,step \\
    --against=ours,attention=plain,attention=chunked
  python -m benchmarks.train_step --what=views --against=ours,views=whole
  python -m benchmarks.train_step --dtype=bfloat16 --batch=8 --rounds=1 \\
    --what=step --against=remat=full --largest

The contestants in --against run in turn. In the column "ours / it", the time of
the first contestant is divided by that of the row's contestant, per round:

  ours    our model
  plain   our model with flax's attention and a 3D convolution as embedding; not
          of mvit, video_swin and videoprism
  torch   the same in torch (`benchmarks.torch_models`), for its families; if it
          does not answer within --torch_seconds, the others go on
  a form  our model with one other choice, see `benchmarks.programs`

The programs in --what are forward, step, product (the first matrix product of
an MLP, 20 times, to compare the libraries alone) and views (forward passes of
12 views per video, as in evaluation).

Where the device's peak is known, MFU is the share of it that the products of a
step make use of. --largest adds the largest batch of the first contestant whose
step fits into the device, or devices of other sizes, as XLA reports memory for
this one: on a CPU, an estimate. --parity compares logits in bfloat16 with those
in float32.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import os
import pathlib
import select
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import measure, programs
from vivit_jax import machine, parallel
from vivit_jax.errors import UserError
from vivit_jax.models import arithmetic

_PRODUCTS = 20
_DEVICES = 16, 24, 40, 80  # memory of accelerators, in GB of 1e9 bytes
_TORCH = pathlib.Path(__file__).with_name('torch_models.py')
# Families in torch_models.
_IN_TORCH = (
  'joint', 'timesformer', 'vtn', 'videoprism', 'videomae', 'vjepa2',
  *programs.HIERARCHIES,
)  # fmt: skip
_THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')  # only torch obeys them

Runs = Mapping[str, Callable[[], float]]  # program -> a call that times it


def _define(values: flags.FlagValues) -> None:
  programs.define(values)
  choices = functools.partial(measure.define_choices, values)
  whats = ('forward', 'step', 'product')
  choices('what', (*whats, 'views'), whats)
  names = ('ours', 'plain', 'torch')
  choices('against', (*names, *programs.FORMS), names)
  measure.define_counts(
    values,
    rounds=(5, 'Rounds to measure.'),
    torch_seconds=(120, 'Limit for torch to start, and for each program.'),
  )
  text = 'Python with torch, and transformers or torchvision.'
  flags.DEFINE_string('torch_python', None, text, flag_values=values)
  for name, text in (
    ('largest', 'Print the largest batch that fits.'),
    ('parity', 'Compare logits in bfloat16 with float32, and measure nothing.'),
  ):
    flags.DEFINE_boolean(name, False, text, flag_values=values)


class _Jax:
  """The jax contestants of the parameters of `name`: they share the state."""

  def __init__(self, name: str, args: types.SimpleNamespace):
    self._args = args
    initialise, known = programs.bare(name, args)
    self._state = initialise(jax.random.key(0))
    self._inputs = {
      what: jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes[1:])
      for what, (_, shapes) in known.items()
      if what in args.what
    }
    self._matrices = []
    if 'product' in args.what:
      size = programs.size(args)
      shapes = (programs.tokens(args), size.width), (size.width, size.mlp)
      self._matrices = [jnp.ones(shape, args.dtype) for shape in shapes]
    self._multiply = jax.jit(jnp.matmul)

  def compile(self, name: str) -> tuple[dict, Runs]:
    """Compiles the programs in --what.

    Returns:
      The device, GB of a step and, per program, compile seconds and MB of
      temporary memory; and a timed call of each program.
    """
    about, runs = {'device': jax.local_devices()[0].device_kind}, {}
    for what, (function, shapes) in programs.bare(name, self._args)[1].items():
      if what in self._args.what:
        begin = time.perf_counter()
        compiled, held = parallel.compiled(function, *shapes)
        about[f'{what} compile'] = time.perf_counter() - begin
        memory = compiled.memory_analysis()
        about[f'{what} memory'] = memory.temp_size_in_bytes / 1e6
        if what == 'step':
          about['GB with arguments'] = round(held / 1e9, 3)
        # Which attention 'auto' has chosen.
        about['cuDNN attention'] = 'fmha' in compiled.as_text()
        run = self._step if what == 'step' else self._forward
        runs[what] = functools.partial(run, compiled, *self._inputs[what])
    runs['product'] = self._product
    return about, {
      what: functools.partial(measure.timed, run) for what, run in runs.items()
    }

  def _forward(self, compiled: Callable, video: np.ndarray) -> np.ndarray:
    return np.asarray(compiled(self._state[0], video))

  def _step(self, compiled: Callable, *batch: np.ndarray) -> float:
    loss, self._state = compiled(self._state, *batch)
    return float(loss)

  def _product(self) -> None:
    for _ in range(_PRODUCTS):
      self._multiply(*self._matrices).block_until_ready()


def _print_largest(args: types.SimpleNamespace, low: float) -> None:
  """Prints the largest batches that fit, by a line through two batches.

  `low` is bytes of a step of --batch of the first contestant.
  """
  few = args.batch
  twice = types.SimpleNamespace(**vars(args) | {'batch': 2 * few})
  step, shapes = programs.bare(args.against[0], twice)[1]['step']
  each = (parallel.compiled(step, *shapes)[1] - low) / few
  print(f'a step takes {low / 1e9:.2f} GB, {each / 1e9:.3f} GB more for a clip')
  limit = (jax.local_devices()[0].memory_stats() or {}).get('bytes_limit')
  for size in [limit / 1e9] if limit else _DEVICES:
    largest = int(few + (1e9 * size - low) // each)
    print(f'largest batch in {size:.0f} GB: {max(0, largest)}')


def _print_parity(args: types.SimpleNamespace) -> None:
  """Prints the difference of logits in bfloat16, relative to their scale."""
  logits = []
  for dtype in ('float32', 'bfloat16'):
    one = types.SimpleNamespace(**vars(args) | {'dtype': dtype})
    initialise, known = programs.bare('ours', one)
    params = initialise(jax.random.key(0))[0]
    forward, (_, video) = known['forward']
    clips = jax.random.normal(jax.random.key(1), video.shape)
    # The head begins at zero.
    head = jax.tree.map(
      lambda x: jax.random.normal(jax.random.key(2), x.shape),
      params['output_projection'],
    )
    params = params | {'output_projection': head}
    logits.append(np.asarray(forward(params, clips), np.float32))
  wide, narrow = logits
  error = np.abs(narrow - wide).max() / np.abs(wide).max()
  print(f'bfloat16 - float32, of the largest logit: {error:.1e}')


def _utilisation(args: types.SimpleNamespace, seconds: float) -> str:
  """Returns a step's share of the device's peak; '' if that is unknown."""
  peak = arithmetic.peak_operations(jax.local_devices()[0].device_kind)
  if peak is None:
    return ''
  config = programs.model_config('ours', args)
  crop = (args.crop, args.crop)
  forward = 2 * arithmetic.forward_multiply_adds(config, args.frames, crop)
  return f'{3 * forward * args.batch / seconds / peak:.1%}'


class _Torch:
  """`torch_models` in a process of --torch_python or this interpreter.

  Once it has failed or not answered within --torch_seconds, its times are NaN.
  """

  def __init__(self, args: types.SimpleNamespace):
    python = args.torch_python or sys.executable
    keys = ('family', 'size', 'frames', 'crop', 'batch', 'dtype')
    settings = {key: getattr(args, key) for key in keys}
    settings |= {'products': _PRODUCTS, 'tokens': programs.tokens(args)}
    if args.family not in programs.HIERARCHIES:
      settings |= dataclasses.asdict(programs.size(args))
    self._limit = args.torch_seconds
    try:
      self._process = subprocess.Popen(
        [python, _TORCH, json.dumps(settings)],
        env={k: v for k, v in os.environ.items() if k not in _THREADS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
      )
    except OSError as error:
      raise UserError(f'{python} cannot be run: {error}.') from None
    self.about = self._answer() or {'failed': 'see above'}

  def run(self, what: str) -> float:
    """Returns the seconds of a program."""
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(f'{what}\n'.encode())
      self._process.stdin.flush()
    return self._answer() or math.nan

  def _answer(self) -> Any:
    """Returns the process's next line, or None after a failure."""
    output = self._process.stdout
    if select.select([output], [], [], self._limit)[0]:
      if line := output.readline():
        return json.loads(line)
    else:
      print(f'torch has not answered in {self._limit} s', file=sys.stderr)
    self.close()
    return None

  def close(self) -> None:
    self._process.kill()
    self._process.wait()


def _compare(args: types.SimpleNamespace) -> None:
  """Runs all programs; prints times, ratios, compile times and memory."""
  names = list(args.against)
  package = 'transformers'
  if sizes := programs.HIERARCHIES.get(args.family):
    package = 'torchvision'
    if 'torch' in names and args.size not in sizes:
      names.remove('torch')
      print(f'torchvision has {args.family} in size {", ".join(sizes)} alone')
  has_torch = args.torch_python or importlib.util.find_spec(package)
  if 'torch' in names and not (has_torch and args.family in _IN_TORCH):
    names.remove('torch')
  about, known, in_jax = {}, {}, {}  # whether blocks are stacked -> contestants
  with contextlib.ExitStack() as stack:
    for name in names:
      if name == 'torch':
        torch = stack.enter_context(contextlib.closing(_Torch(args)))
        about[name] = torch.about
        known[name] = {
          what: functools.partial(torch.run, what)
          for what in ('forward', 'step', 'product')
        }
      else:
        stacked = programs.model_config(name, args).scan
        if stacked not in in_jax:
          in_jax[stacked] = _Jax(name, args)
        about[name], known[name] = in_jax[stacked].compile(name)
    runs = {
      (name, what): known[name][what]
      for what in args.what
      for name in names
      if what in known[name]
    }
    seconds = measure.by_turns(runs, args.rounds, warm_up=True)
  if 'step' in args.what and 'ours' in names:
    median = statistics.median(seconds['ours', 'step'])
    about['ours']['MFU'] = _utilisation(args, median)
  _print_comparison(args.what, names, about, seconds)
  peak = (jax.local_devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
  if peak:
    print(f'peak memory of the device, of all but torch: {peak / 1e9:.1f} GB')
  if args.largest:
    _print_largest(args, 1e9 * about[names[0]]['GB with arguments'])


def _print_comparison(
  whats: Sequence[str],
  names: Sequence[str],
  about: Mapping[str, dict[str, Any]],
  seconds: Mapping[tuple[str, str], Sequence[float]],
) -> None:
  rows = []
  for name in names:
    cells = [name]
    for what in whats:
      mine, first = seconds.get((name, what)), seconds.get((names[0], what))
      cells.append(measure.median([1e3 * x for x in mine]) if mine else '')
      cells.append(measure.ratio(first, mine) if mine and first else '')
    for key in ('compile', 'memory'):
      costs = (about[name].pop(f'{what} {key}', None) for what in whats)
      cells.append(', '.join(f'{cost:.1f}' for cost in costs if cost))
    rows.append(cells)
    facts = (f'{key} {x}' for key, x in about[name].items() if x)
    print(f'{name}:', *facts)
  heads = ((f'{w}, ms', f'{names[0]} / it (rounds)') for w in whats)
  costs = 'compile, s', 'XLA memory, MB'
  print('\n' + measure.table(('', *sum(heads, ()), *costs), rows))


def main(argv: Sequence[str]) -> None:
  args = measure.parse(argv, _define, __doc__)
  programs.complete(args)
  if args.family in programs.HIERARCHIES:  # their widths differ by stage
    args.what = [what for what in args.what if what != 'product']
  if args.family in programs.NO_PLAIN:
    args.against = [name for name in args.against if name != 'plain']
  if args.largest and ('step' not in args.what or args.against[0] == 'torch'):
    raise UserError('--largest is of a step of the first one, not of torch.')
  # jax must not reserve most of a GPU's memory, because torch needs some.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  jax.config.update('jax_enable_compilation_cache', False)
  print(machine.describe('jax', 'jaxlib', 'flax'), end='\n\n')
  if args.parity:
    _print_parity(args)
  else:
    _compare(args)


if __name__ == '__main__':
  measure.run(main)
