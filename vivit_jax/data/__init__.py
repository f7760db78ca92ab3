"""Datasets: from videos to records, and from records to batches.

Preparation (`prepare`): `readers` parse the owners' files into `annotations`;
`raw_videos` yields frames from video files (`decode`, `timing`), folders or
`tfrecords`; `shards` writes `records`, and `build_dir` finishes the dataset.
`catalogue` lists all datasets; `moving_shapes` generates the embedded one.

Reading: `datasets` opens a split, `clips` samples and crops, and `pipeline`
makes batches. `check` lists unreadable videos. Nothing here imports TensorFlow.
"""
