"""How the synthetic data set makes its images: photographs, scenes, pixels."""
