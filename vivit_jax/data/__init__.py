"""Datasets: preparation of records from videos, and batches from records.

Preparation (`prepare`): `readers` read the owners' files into `annotations`;
`raw_videos` yields frames from video files (`decode`, `timing`), folders or
`tfrecords`; `shards` writes `records` and `build_dir` finishes the dataset.
`builders` lists the datasets, and `moving_shapes` is the embedded one.

Reading: `datasets` opens a split, `clips` samples and crops, and `pipeline`
makes batches. `check` decodes everything. Nothing here imports TensorFlow.
"""
