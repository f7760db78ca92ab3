"""Video transformers in torch, contestants in `benchmarks.train_step`.

ViViT Model 1, TimeSformer and VideoMAE are transformers' classes, with fused
attention where they have it; VideoPrism and V-JEPA 2 are its encoders, with the
mean of all tokens and a linear layer. VTN is made of transformers' ViT and
Longformer; the official code has timm's ViT. MViT and Video Swin are
torchvision's.

It imports nothing from this project, so that it runs in any interpreter with
torch, and transformers or torchvision. Its argument is a JSON object with
family, size, frames, crop, batch, tokens, dtype, products and, of ViTs, width,
attention_heads, mlp and layers. It first
prints version and threads as JSON. Then it reads lines ('forward', 'step' or
'product') from standard input, runs each and prints the seconds.
"""

import json
import sys
import time
import types
from collections.abc import Callable, Mapping

import torch

try:
  import transformers
except ImportError:  # only needed for ViTs
  transformers = None

_CLASSES = 400


class _VTN(torch.nn.Module):
  """VTN with its own sizes of the temporal encoder: window 18, 3 layers."""

  def __init__(self, sizes: Mapping):
    super().__init__()
    width = sizes['hidden_size']
    vit = transformers.ViTConfig(**sizes)
    temporal = transformers.LongformerConfig(
      **sizes | {'num_hidden_layers': 3},
      attention_window=18,
      max_position_embeddings=288,
      type_vocab_size=2,
      pad_token_id=0,
      vocab_size=1,
      sep_token_id=None,
      eos_token_id=None,
    )
    self.vit = transformers.ViTModel(vit, add_pooling_layer=False)
    self.temporal = transformers.LongformerModel(
      temporal, add_pooling_layer=False
    )
    self.cls = torch.nn.Parameter(torch.randn(1, 1, width))
    self.head = torch.nn.Sequential(
      torch.nn.LayerNorm(width),
      torch.nn.Linear(width, width),
      torch.nn.GELU(),
      torch.nn.Dropout(0.0),
      torch.nn.Linear(width, _CLASSES),
    )

  def forward(self, pixel_values):
    batch, frames = pixel_values.shape[:2]
    images = pixel_values.flatten(0, 1)
    vectors = self.vit(images).last_hidden_state[:, 0]
    vectors = vectors.unflatten(0, (batch, frames))
    x = torch.cat([self.cls.expand(batch, -1, -1), vectors], 1)
    places = torch.arange(-1, frames, device=x.device) % 286
    places[0] = 286
    is_cls = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
    is_cls[:, 0] = 1
    x = self.temporal(
      inputs_embeds=x,
      position_ids=places.expand(batch, -1),
      token_type_ids=is_cls,
      global_attention_mask=is_cls,
    ).last_hidden_state
    return types.SimpleNamespace(logits=self.head(x[:, 0]))


class _OfTorchvision(torch.nn.Module):
  """MViT v2 or Video Swin, for videos [B, T, 3, H, W]."""

  def __init__(self, args: types.SimpleNamespace):
    super().__init__()
    from torchvision.models import video

    name = 'mvit_v2' if args.family == 'mvit' else 'swin3d'
    self.model = getattr(video, f'{name}_{args.size.lower()}')()
    for module in self.model.modules():
      if hasattr(module, 'p'):  # dropout and stochastic depth
        module.p = 0.0

  def forward(self, pixel_values):
    logits = self.model(pixel_values.transpose(1, 2))
    return types.SimpleNamespace(logits=logits)


class _Probed(torch.nn.Module):
  """A mean and a linear layer on the tokens of an encoder of transformers."""

  def __init__(
    self, encoder: torch.nn.Module, argument: str, width: int, **keys
  ):
    super().__init__()
    self.encoder, self.argument, self.keys = encoder, argument, keys
    self.head = torch.nn.Linear(width, _CLASSES)

  def forward(self, pixel_values):
    tokens = self.encoder(**{self.argument: pixel_values}, **self.keys)
    logits = self.head(tokens.last_hidden_state.mean(1))
    return types.SimpleNamespace(logits=logits)


def network(args: types.SimpleNamespace) -> torch.nn.Module:
  """Returns the family's network, without dropout."""
  if args.family in ('mvit', 'video_swin'):
    return _OfTorchvision(args)
  sizes = {
    'image_size': args.crop,
    'hidden_size': args.width,
    'num_hidden_layers': args.layers,
    'num_attention_heads': args.attention_heads,
    'intermediate_size': args.mlp,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
  }
  if args.family == 'vtn':
    return _VTN(sizes)
  if args.family == 'vjepa2':
    config = transformers.VJEPA2Config(
      **sizes,
      crop_size=args.crop,
      frames_per_clip=args.frames,
      mlp_ratio=args.mlp / args.width,
    )
    encoder = transformers.VJEPA2Model(config)
    del encoder.predictor  # it would be trained, and is not used
    return _Probed(
      encoder, 'pixel_values_videos', args.width, skip_predictor=True
    )
  if args.family == 'videoprism':
    config = transformers.VideoPrismVisionConfig(
      **sizes,
      num_frames=args.frames,
      num_spatial_layers=args.layers,
      num_temporal_layers=4,
      tubelet_size=(1, 18, 18),
    )
    encoder = transformers.VideoPrismVisionModel(config)
    return _Probed(encoder, 'pixel_values_videos', args.width)
  kind, model = {
    'joint': (
      transformers.VivitConfig,
      transformers.VivitForVideoClassification,
    ),
    'timesformer': (
      transformers.TimesformerConfig,
      transformers.TimesformerForVideoClassification,
    ),
    'videomae': (
      transformers.VideoMAEConfig,
      transformers.VideoMAEForVideoClassification,
    ),
  }[args.family]
  sizes |= {'num_frames': args.frames, 'num_labels': _CLASSES}
  return model(kind(**sizes))


def programs(args: types.SimpleNamespace) -> Mapping[str, Callable]:
  """Returns the programs; each blocks until its result is computed."""
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  model = network(args).to(device)
  dtype = getattr(torch, args.dtype)
  sides = args.frames, 3, args.crop, args.crop
  video = torch.randn(args.batch, *sides, device=device)
  labels = torch.randint(_CLASSES, (args.batch,), device=device)
  optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
  fastest = torch.compile(model) if device == 'cuda' else model

  def logits():
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
      return fastest(pixel_values=video).logits.float()

  @torch.inference_mode()
  def forward():
    return logits().cpu()

  def step():
    optimiser.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(logits(), labels)
    loss.backward()
    optimiser.step()
    return loss.item()

  @torch.inference_mode()
  def product():
    x = torch.ones(args.tokens, args.width, device=device, dtype=dtype)
    kernel = torch.ones(args.width, args.mlp, device=device, dtype=dtype)
    for _ in range(args.products):
      y = x @ kernel
    return y[0, 0].item()

  return {'forward': forward, 'step': step, 'product': product}


if __name__ == '__main__':
  runs = programs(types.SimpleNamespace(**json.loads(sys.argv[1])))
  about = {'version': torch.__version__, 'threads': torch.get_num_threads()}
  print(json.dumps(about), flush=True)
  for line in sys.stdin:
    begin = time.perf_counter()
    runs[line.strip()]()
    print(time.perf_counter() - begin, flush=True)
