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
from grpc_tools import protoc

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
        arguments += [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
        arguments += [f"--{kind}_out=quiet:{out}" for kind in ("mypy", "mypy_grpc")]
        code = protoc.main([*arguments, *request.file_to_generate])
        if code:
            response.error = f"grpcio-tools ended with {code}"
            return response
        for path in sorted(out.rglob("*.py*")):
            content = path.read_text()
            if "_pb2_grpc." in path.name and "Stub" not in content:
                continue  # its proto has no service
            response.file.add(name=path.relative_to(out).as_posix(), content=content)
    return response


if __name__ == "__main__":
    incoming = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(incoming).SerializeToString())
