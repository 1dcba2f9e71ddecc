"""The cluster, beside the bare store that it stands on."""

import bench.processes  # noqa: F401 - tells gRPC, before it is imported, that processes are started under it
