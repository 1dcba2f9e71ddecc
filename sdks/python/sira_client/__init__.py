"""Client of Sira: register, resolve, watch and call gRPC services."""
