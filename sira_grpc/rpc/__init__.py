"""The edge: the gRPC server, what every call passes, and one servicer for each proto service."""
