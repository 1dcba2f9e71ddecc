"""A protoc plugin that writes Python messages, typed stubs and gRPC stubs with grpcio-tools.

The third-party imports that only carry options (buf.validate, google.api) are dropped from each file before it is
generated, while the options themselves stay, as unknown fields of the descriptors. So the generated package needs
nothing but protobuf, cannot clash with another copy of those protos in the same process, and protovalidate and
reflection still see every rule.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import Edition, FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped]

OPTION_ONLY = ("buf/validate/", "google/api/")


def strip_option_imports(request: plugin_pb2.CodeGeneratorRequest) -> FileDescriptorSet:
    """Returns the files of the request without the option-only ones and without imports of them."""
    files = FileDescriptorSet()
    for proto in request.proto_file:
        if proto.name.startswith(OPTION_ONLY):
            continue
        kept = files.file.add()
        kept.CopyFrom(proto)
        del kept.dependency[:]
        kept.dependency.extend(d for d in proto.dependency if not d.startswith(OPTION_ONLY))
    return files


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Runs grpcio-tools over the request and returns what it wrote."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=3,
        minimum_edition=Edition.EDITION_PROTO2,
        maximum_edition=Edition.EDITION_2024,
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        out.mkdir()
        descriptors = Path(folder, "files.binpb")
        descriptors.write_bytes(strip_option_imports(request).SerializeToString())
        arguments = ["protoc", f"--descriptor_set_in={descriptors}"]
        arguments += [f"--{kind}={out}" for kind in ("python_out", "mypy_out", "grpc_python_out", "mypy_grpc_out")]
        code = protoc.main([*arguments, *request.file_to_generate])
        if code:
            response.error = f"grpcio-tools ended with {code}"
            return response
        for path in sorted(out.rglob("*.py*")):
            name = path.relative_to(out).as_posix()
            if name.endswith("_pb2_grpc.py") and "Stub" not in path.read_text():
                continue  # a file without services
            if name.endswith("_pb2_grpc.pyi") and not (path.with_suffix(".py").exists() and "Stub" in path.read_text()):
                continue
            response.file.add(name=name, content=path.read_text())
    return response


if __name__ == "__main__":
    incoming = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(incoming).SerializeToString())
