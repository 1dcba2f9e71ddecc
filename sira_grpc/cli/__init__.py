"""The `sira` command: what people and scripts do with a kernel, one file for each noun."""

__all__ = ["main"]


def main() -> None:
    """Runs the command line of this process and exits with its code."""
    from sira_grpc.cli.app import app

    app(prog_name="sira")
