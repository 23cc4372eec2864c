"""The machine: device, processes, threads, compilation, and what a run costs."""
