"""The registry beside a bare grpc.aio server and beside etcd."""
