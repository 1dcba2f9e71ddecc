"""Runs the `sira` command as `python -m sira_grpc`."""

from sira_grpc.cli import main

if __name__ == "__main__":
    main()
