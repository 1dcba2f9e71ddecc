"""`sira up --cluster`: a cluster for development, of NATS servers and members on loopback, as child processes."""
