"""Where a stage's batches run: in this process and others beside it, or on the machines of a Ray cluster."""
