"""dualform: a linear layer updated by outer products is linear attention over its training data."""
