"""Writes a trained model as a file that jax alone can run.

  python -m vivit_jax.export --workdir=runs/demo --out=DIR
  python -m vivit_jax.export --checkpoint=PATH --config=FILE --out=DIR

docs/export.md shows what comes of it.
"""

import sys

from vivit_jax.inference import export_command

if __name__ == '__main__':
  sys.exit(export_command.main())
