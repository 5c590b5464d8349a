"""Regression runs: studies run again and again, and told from a baseline when numbers move."""
