"""The bus beside a bare grpc.aio server that writes the same frames, and beside other brokers."""
