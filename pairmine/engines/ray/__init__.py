"""Ray: the cluster that does the work, and its pools of workers."""
