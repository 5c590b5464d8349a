"""Statistics of seed curves: fits with confidence intervals, and how many seeds they need."""
