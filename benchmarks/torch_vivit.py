"""Hugging Face's ViViT in torch, a contestant in `benchmarks.train_step`.

It imports nothing from this project, so that it runs in any interpreter with
torch and transformers. Its argument is a JSON object with frames, crop, batch,
dtype, products, width, attention_heads, mlp and layers. It first prints version
and threads as JSON. Then it reads lines ('forward', 'step' or 'product') from
standard input, runs each and prints the seconds.
"""

import json
import sys
import time
import types
from collections.abc import Callable, Mapping

import torch
import transformers


def programs(args: types.SimpleNamespace) -> Mapping[str, Callable]:
  """Returns the programs; each blocks until its result is computed."""
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  settings = transformers.VivitConfig(
    image_size=args.crop,
    num_frames=args.frames,
    hidden_size=args.width,
    num_hidden_layers=args.layers,
    num_attention_heads=args.attention_heads,
    intermediate_size=args.mlp,
    num_labels=400,
    attn_implementation='sdpa',
  )
  model = transformers.VivitForVideoClassification(settings).to(device)
  dtype = getattr(torch, args.dtype)
  sides = args.frames, 3, args.crop, args.crop
  video = torch.randn(args.batch, *sides, device=device)
  labels = torch.randint(400, (args.batch,), device=device)
  tokens = args.batch * args.frames // 2 * (args.crop // 16) ** 2
  x = torch.randn(tokens, args.width, device=device, dtype=dtype)
  kernel = torch.randn(args.width, args.mlp, device=device, dtype=dtype)
  optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
  network = torch.compile(model) if device == 'cuda' else model

  def logits():
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
      return network(pixel_values=video).logits.float()

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
