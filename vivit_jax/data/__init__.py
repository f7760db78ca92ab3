"""Videos on disk to batches: `prepare` makes records, `pipeline` reads them.

`builders` names the datasets, `readers` read what their owners distribute into
`annotations`; `sources` finds the frames, in videos (`decode`, `timing`),
folders or `tfrecords`. `records` is the format on disk, `datasets` opens it,
and `check` goes over it. `moving_shapes` is the embedded dataset. Nothing here
imports TensorFlow.
"""
