"""The generator of the synthetic data set: photographs, scenes, pixels."""
