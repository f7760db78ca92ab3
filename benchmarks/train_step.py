"""Forward pass, training step and matrix products of ours, plain and torch.

  python -m benchmarks.train_step --family=joint --size=B
  python -m benchmarks.train_step --family=joint --torch_python=PATH/python
  python -m benchmarks.train_step --frozen --frames=8 --crop=112 --batch=2

`plain` is the same model as the reference code writes it
(`benchmarks.programs`), `torch` Hugging Face's ViViT with fused attention, for
the joint model. Each has a process of its own; they run by turns, and "ours /
it" is the ratio of the times in one round: `it` is the baseline. `product` is
the first matrix product of an MLP, 20 times: the speed of the library alone.

--frozen compares train.py's step with `optim.train='^output_projection/'` (the
head alone) with the whole step, the baseline.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import measure
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error

# An interpreter with torch may have no jax: functions import that.

CONFIGS = {
  'joint': 'k400_b16x2',
  'factorised_encoder': 'k400_b16x2_fe',
  'factorised_self_attention': 'k400_b16x2_fsa',
  'factorised_dot_product': 'k400_b16x2_fdp',
}
_NAMES = ('ours', 'plain', 'torch')
_WHATS = ('forward', 'step', 'product')
_PRODUCTS = 20
_HEAD = '^output_projection/'
_ROOT = pathlib.Path(__file__).parent.parent
# All processes share a GPU's memory, most of which jax would reserve.
_ENVIRONMENT = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
_THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')  # torch alone obeys them

Runs = Mapping[str, Callable[[], Any]]  # each returns when its result is ready


def define(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of a model and its input."""
  add, count = parser.add_argument, measure.count
  add('--family', choices=CONFIGS, default='factorised_encoder')
  add('--size', default='B')
  add('--layers', type=count, help="blocks; the size's own by default")
  add('--frames', type=count, default=32)
  add('--crop', type=count, default=224)
  add('--batch', type=count, default=1)
  add('--dtype', default='float32', choices=('float32', 'bfloat16'))


def _inputs(args: argparse.Namespace) -> tuple[np.ndarray, ...]:
  """Returns random video [B, T, H, W, 3], labels [B], x [B N, D], W [D, E]."""
  draw = np.random.default_rng(0)
  sides = (args.frames, args.crop, args.crop)
  tokens = math.prod(side // part for side, part in zip(sides, (2, 16, 16)))
  width, _, mlp, _ = args.dimensions
  return (
    draw.standard_normal((args.batch, *sides, 3), np.float32),
    draw.integers(0, 400, args.batch).astype(np.int32),
    draw.standard_normal((args.batch * tokens, width), np.float32),
    draw.standard_normal((width, mlp), np.float32),
  )


def _in_jax(args: argparse.Namespace) -> tuple[dict, Runs]:
  """Compiles the programs of --what; also returns the cost of that."""
  import jax
  import jax.numpy as jnp

  from benchmarks import programs

  jax.config.update('jax_enable_compilation_cache', False)
  video, labels, *matrices = _inputs(args)
  initialise, known = programs.bare(args.serve, args)
  state = initialise(jax.random.key(0))
  about = {'device': jax.local_devices()[0].device_kind}
  compiled = {}
  for what in [what for what in args.what if what in known]:
    function, shapes = known[what]
    begin = time.perf_counter()
    compiled[what] = function.lower(*shapes).compile()
    about[f'{what} compile'] = time.perf_counter() - begin
    memory = compiled[what].memory_analysis()
    about[f'{what} memory'] = memory.temp_size_in_bytes / 1e6
  x, kernel = (jnp.asarray(matrix, args.dtype) for matrix in matrices)
  multiply = jax.jit(jnp.matmul)

  def step():
    nonlocal state
    loss, state = compiled['step'](state, video, labels)
    return float(loss)

  def product():
    for _ in range(_PRODUCTS):
      multiply(x, kernel).block_until_ready()

  def forward():
    return np.asarray(compiled['forward'](state[0], video))

  return about, {'forward': forward, 'step': step, 'product': product}


def _in_torch(args: argparse.Namespace) -> tuple[dict, Runs]:
  import torch
  import transformers

  width, heads, mlp, layers = args.dimensions
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  settings = transformers.VivitConfig(
    image_size=args.crop,
    num_frames=args.frames,
    hidden_size=width,
    num_hidden_layers=layers,
    num_attention_heads=heads,
    intermediate_size=mlp,
    num_labels=400,
    attn_implementation='sdpa',
  )
  model = transformers.VivitForVideoClassification(settings).to(device)
  dtype = getattr(torch, args.dtype)
  video, labels, *matrices = _inputs(args)
  video = torch.as_tensor(np.moveaxis(video, -1, 2).copy(), device=device)
  labels = torch.as_tensor(labels, dtype=torch.long, device=device)
  x, kernel = (torch.as_tensor(m, device=device, dtype=dtype) for m in matrices)
  optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
  network = torch.compile(model) if device == 'cuda' else model

  def logits():
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
      return network(pixel_values=video).logits.float()

  def forward():
    with torch.inference_mode():
      return logits().cpu()

  def step():
    optimiser.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(logits(), labels)
    loss.backward()
    optimiser.step()
    return loss.item()

  def product():
    with torch.inference_mode():
      for _ in range(_PRODUCTS):
        y = x @ kernel
      return y[0, 0].item()

  about = {'version': torch.__version__, 'threads': torch.get_num_threads()}
  return about, {'forward': forward, 'step': step, 'product': product}


def _serve(args: argparse.Namespace) -> None:
  """Runs a program for each line of standard input; answers in JSON."""
  about, runs = (_in_torch if args.serve == 'torch' else _in_jax)(args)
  print(json.dumps(about), flush=True)
  for line in sys.stdin:
    print(measure.timed(runs[line.strip()]), flush=True)


def _start(name: str, python: str, argv: Sequence[str]) -> subprocess.Popen:
  """Returns a process of --serve."""
  given = {k: v for k, v in os.environ.items() if k not in _THREADS}
  try:
    return subprocess.Popen(
      [python, '-m', 'benchmarks.train_step', *argv, f'--serve={name}'],
      cwd=_ROOT,
      env=_ENVIRONMENT | given,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
  except OSError as error:
    raise UserError(f'{python} cannot be run: {error}.') from None


def _answer(process: subprocess.Popen, request: str = '') -> Any:
  """Returns the answer of `_serve` to a line, or its first one."""
  with contextlib.suppress(BrokenPipeError):
    process.stdin.write(request)
    process.stdin.flush()
  line = process.stdout.readline()
  if not line:
    code, command = process.wait(), ' '.join(process.args)
    raise UserError(f'{command} ended with code {code}: see above.')
  return json.loads(line)


def _compare(args: argparse.Namespace, argv: Sequence[str]) -> None:
  """Prints times, ratios, compile times and memory of all programs."""
  from benchmarks import programs

  names, python = list(args.against), args.torch_python or sys.executable
  has_torch = args.torch_python or importlib.util.find_spec('transformers')
  if 'torch' in names and not (has_torch and args.family == 'joint'):
    names.remove('torch')
  size = programs.size(args)
  sizes = size.width, size.attention_heads, size.mlp, size.layers
  argv = [*argv, '--dimensions', *map(str, sizes)]
  with contextlib.ExitStack() as stack:
    contestants, about = {}, {}
    for name in names:
      which = python if name == 'torch' else sys.executable
      contestants[name] = stack.enter_context(_start(name, which, argv))
      about[name] = _answer(contestants[name])
    runs = {
      (name, what): functools.partial(_answer, process, f'{what}\n')
      for what in args.what
      for name, process in contestants.items()
    }
    seconds = measure.by_turns(runs, args.rounds, warm_up=True)
  rows = []
  for name in names:
    cells = [name]
    for what in args.what:
      mine, first = seconds[name, what], seconds[names[0], what]
      cells.append(measure.median([1e3 * x for x in mine]))
      cells.append(measure.ratio(first, mine))
    for key in ('compile', 'memory'):
      costs = (about[name].pop(f'{what} {key}', None) for what in args.what)
      cells.append(', '.join(f'{cost:.1f}' for cost in costs if cost))
    rows.append(cells)
    print(f'{name}:', *(f'{key} {x}' for key, x in about[name].items()))
  heads = ((f'{w}, ms', f'{names[0]} / it (rounds)') for w in args.what)
  costs = 'compile, s', 'XLA memory, MB'
  print('\n' + measure.table(('', *sum(heads, ()), *costs), rows))


def _frozen(args: argparse.Namespace) -> None:
  """Prints time and memory of a step of the head alone and of a whole step."""
  import jax

  from benchmarks import programs

  runs, memory = {}, {}
  names = whole, head = 'whole step', 'head alone'
  for name in names:
    changes = {'model.stochastic_depth': 0.1, 'optim.name': 'adamw'}
    if name == head:
      changes['optim.train'] = _HEAD
    begin, held = programs.running_step(programs.config_of(args, **changes))
    runs[name] = functools.partial(
      measure.timed, lambda begin=begin: jax.block_until_ready(begin())
    )
    memory[name] = held / 1e6
  seconds = measure.by_turns(runs, args.rounds, warm_up=True)
  rows = [(n, measure.median(seconds[n], 3), f'{memory[n]:.0f}') for n in names]
  times = measure.ratio(seconds[head], seconds[whole], '<= 0.45')
  memories = measure.ratio([memory[head]], [memory[whole]], '<= 0.5')
  rows.append((f'{head} / {whole}', times, memories))
  print(measure.table(('', 'step, s', 'memory by XLA, MB'), rows))


def main(argv: Sequence[str]) -> None:
  parser = measure.parser(__doc__)
  define(parser)
  add = parser.add_argument
  add('--what', nargs='+', choices=_WHATS, default=_WHATS)
  add('--against', nargs='+', choices=_NAMES, default=_NAMES)
  add('--rounds', type=measure.count, default=5)
  add('--torch_python', help='an interpreter with torch and transformers')
  add('--frozen', action='store_true', help='the head alone against all')
  add('--serve', choices=_NAMES, help=argparse.SUPPRESS)
  add('--dimensions', nargs=4, type=int, help=argparse.SUPPRESS)
  args = parser.parse_args(argv)
  if args.serve:
    _serve(args)
    return
  if args.frames % 2 or args.crop % 16:
    raise UserError('--frames must be a multiple of 2, --crop of 16.')
  print(measure.machine('jax', 'jaxlib', 'flax'))
  if args.frozen:
    _frozen(args)
  else:
    _compare(args, argv)


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    main(sys.argv[1:])
