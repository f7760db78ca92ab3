"""Rooms lie on floors: nothing imports upwards, or in a circle."""

import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
# From the ground up: a room may import those before it alone.
FLOORS = [
  'ground',  # errors, files, devices and processes
  'models',
  'config',
  'augment',
  'data',
  'checkpoints',
  'evaluation',
  'training',
  'probing',
  'inference',
  'sweeps',
  'entry points',
]
GROUND = (
  'errors', 'typed', 'files', 'locks', 'fonts', 'parallel',
  'distributed', 'processes', 'compilation_cache', 'commands', 'machine',
)  # fmt: skip
CONFIG = ('config', 'config_checks', 'config_file', 'config_flags')
ENTRIES = ('predict', 'export', 'show', 'probe', 'study', 'studies')


def modules() -> dict[str, pathlib.Path]:
  """Returns the package's modules by their dotted names."""
  found = {}
  for path in (ROOT / 'vivit_jax').rglob('*.py'):
    parts = path.relative_to(ROOT).with_suffix('').parts
    name = '.'.join(parts).removesuffix('.__init__')
    found[name] = path
  return found


def floor(module: str) -> int:
  parts = module.split('.')
  room = parts[1] if len(parts) > 1 else ''
  if room in GROUND:
    return FLOORS.index('ground')
  if room in CONFIG:
    return FLOORS.index('config')
  if room in ENTRIES or not room:
    return FLOORS.index('entry points')
  return FLOORS.index(room)


def imports(module: str, path: pathlib.Path, known) -> set[str]:
  """Returns what a module imports of the package, inside functions too.

  Imports for type checkers alone do not run.
  """
  found = set()
  tree = ast.parse(path.read_text())
  for node in ast.walk(tree):
    if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
      node.body = []
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and (node.module or '').startswith(
      'vivit_jax'
    ):
      for alias in node.names:
        name = f'{node.module}.{alias.name}'
        found.add(name if name in known else node.module)
    elif isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
      found |= {name for name in names if name.startswith('vivit_jax')}
  return found - {module}


def test_every_module_has_a_floor():
  assert all(floor(module) >= 0 for module in modules())


def test_nothing_imports_upwards():
  known = modules()
  upwards = [
    f'{module} imports {other}'
    for module, path in known.items()
    for other in sorted(imports(module, path, known))
    if floor(other) > floor(module)
  ]
  assert not upwards


def test_nothing_imports_in_a_circle():
  """Among all modules, not only among rooms."""
  known = modules()
  packages = {'.'.join(name.split('.')[:-1]) for name in known}
  edges = {
    module: {
      other
      for other in imports(module, path, known)
      # A package's __init__ names what its own modules define.
      if not (other in packages and module.startswith(f'{other}.'))
    }
    for module, path in known.items()
  }
  done: set[str] = set()

  def visit(module: str, above: tuple[str, ...]) -> None:
    assert module not in above, ' -> '.join([*above, module])
    if module in done:
      return
    for other in edges.get(module, ()):
      visit(other, (*above, module))
    done.add(module)

  for module in edges:
    visit(module, ())


def test_a_step_needs_none_of_the_data_libraries():
  """On a machine that has jax, flax and optax alone."""
  needed = [
    'vivit_jax.models', 'vivit_jax.models.vivit', 'vivit_jax.training.step',
    'vivit_jax.training.optim', 'vivit_jax.training.losses',
    'vivit_jax.augment.device', 'vivit_jax.augment.mixing',
  ]  # fmt: skip
  absent = [
    'tensorflow', 'tensorflow_datasets', 'clu', 'grain', 'ml_collections',
    'av', 'array_record', 'orbax', 'matplotlib', 'tensorboard', 'cv2',
  ]  # fmt: skip
  program = (
    f'import sys, importlib\n'
    f'for name in {absent}: sys.modules[name] = None\n'
    f'for name in {needed}: importlib.import_module(name)\n'
  )
  subprocess.run([sys.executable, '-c', program], check=True, cwd=ROOT)
