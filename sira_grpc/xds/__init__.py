"""The xDS control plane: from the registry's view to the resources that clients of xDS are configured with."""
