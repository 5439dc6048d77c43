"""Replies: from what a model sent to a value that fits its schema and passes its checks, or to the reason why not."""
