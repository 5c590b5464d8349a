"""The report of a store: one page that needs nothing else, and its figures as files."""
