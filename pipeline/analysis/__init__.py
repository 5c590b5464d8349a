"""What a store says as a whole: rates, orders and their confidence intervals, in /analysis."""
