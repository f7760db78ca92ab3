"""Videos on disk to batches: `prepare` makes records, `pipeline` reads them.

`moving_shapes` is the embedded dataset; `annotations` reads what owners of
datasets distribute, `decode` their videos, `records` is the format on disk and
`datasets` opens it. Nothing here imports TensorFlow.
"""
