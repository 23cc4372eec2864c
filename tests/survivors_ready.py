"""What the server of ``survivors`` imports before it forks."""

import matplotlib.figure  # noqa: F401
import pandas as pd  # noqa: F401
import pyarrow.parquet  # noqa: F401
from survivors import warm

import wsol.pipeline
import wsol.training.loop  # noqa: F401
from wsol.metrics import localization, pixels  # noqa: F401

warm()
