"""A trained model at work on single videos: predictions, features, pictures."""
