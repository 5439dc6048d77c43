"""The HTML page of `pairmine report`: one file that shows a pair set, opens from disk and asks nothing of a network."""
