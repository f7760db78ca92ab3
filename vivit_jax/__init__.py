"""vivit_jax: training and evaluating video vision transformers in JAX.

Dimension letters, used in names and docstrings throughout the package:

  B  batch (clips)          V  views of a video
  T  H  W  pixels: frames, height, width      C  colour channels (3)
  t  h  w  the token grid: T / tubelet frames, H / patch, W / patch
  N  tokens of one sequence, a class token included where there is one
  D  width of the network   K  classes of a head
"""
