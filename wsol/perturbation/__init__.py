"""The library of ``python -m wsol.faithfulness``: how the class probability follows changes of the image."""
