"""What an exported model's README.txt says."""

_TEXT = """This model needs jax and numpy, and nothing else. In this folder:

    import json, numpy as np
    from jax import export
    about = json.load(open('model.json', encoding='utf-8'))
    model = export.deserialize(bytearray(open('{artefact}', 'rb').read()))
{parameters}    video = np.zeros({shape}, np.uint8)  # RGB, any number of clips
    probabilities = model.call({arguments})
    for head, found in probabilities.items():
      print(head, about['outputs'][head]['labels'][int(found[0].argmax())])

model.json says which frames of a video a clip is of, and the labels.
"""
_PARAMETERS = """    with np.load('parameters.npz') as file:
      parameters = [file[name] for name in sorted(file.files)]
"""
_SAVED_MODEL = """savedmodel/ is the same for TensorFlow:
tensorflow.saved_model.load('savedmodel').signatures['serving_default'].
"""


def text(
  artefact: str, shape: tuple[int, ...], beside: bool, savedmodel: bool
) -> str:
  """Returns the README.

  Args:
    artefact: name of its file.
    shape: of one clip.
    beside: whether parameters are in a file of their own.
    savedmodel: whether there is one.
  """
  return _TEXT.format(
    artefact=artefact,
    parameters=_PARAMETERS if beside else '',
    shape=(1, *shape),
    arguments='parameters, video' if beside else 'video',
  ) + (_SAVED_MODEL if savedmodel else '')
