"""Imports for the server of ``killed_processes``, made before it forks."""

import matplotlib.figure  # noqa: F401
import pandas as pd  # noqa: F401
import pyarrow.parquet  # noqa: F401
import torch.distributed.tensor  # noqa: F401  # with sympy; every evaluation imports it, which takes longer than the rest
from killed_processes import warm

import wsol.evaluation.evaluate
import wsol.training.train  # noqa: F401
from wsol.metrics import localization, pixels  # noqa: F401

warm()
