"""The parts of `benchmarks/everything.py`."""
