"""The benchmark of the xDS control plane."""
