"""Says what videos show, with a trained model.

  python -m vivit_jax.predict VIDEO... --workdir=runs/demo
  python -m vivit_jax.predict FOLDER 'more/*.mp4' --checkpoint=PATH --json
  python -m vivit_jax.predict LONG.mp4 --workdir=runs/demo --timeline

docs/predict.md shows what each flag gives.
"""

import sys

from vivit_jax.inference import command

if __name__ == '__main__':
  sys.exit(command.main())
