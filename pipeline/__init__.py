"""Studies: plan, execute, store, analyse, report."""
