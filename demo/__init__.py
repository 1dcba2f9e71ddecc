"""The demonstration that `make demo` runs: a kernel, a small gRPC service, its callers, and what can happen to them."""
