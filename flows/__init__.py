"""Prefect flows, the clusters they run on, and the command line."""
