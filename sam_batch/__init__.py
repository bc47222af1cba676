"""Label image datasets with the Segment Anything Model: distributed, restartable, exact."""

__version__ = "0.1.0"
