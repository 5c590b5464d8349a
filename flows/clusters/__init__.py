"""Where workers run: on this machine, on Slurm or Kubernetes, or at a running Dask scheduler."""

from flows.clusters.crew import check_cluster, chosen_cluster, open_crew

__all__ = ["check_cluster", "chosen_cluster", "open_crew"]
