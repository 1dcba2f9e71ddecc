"""The cluster: which members share the store, what is whose, and what only one of them may do at a time."""
