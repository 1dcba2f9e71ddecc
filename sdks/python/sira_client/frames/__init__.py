"""Frames: batches of records, column by column; made by publishers, stored by the kernel, read by consumers."""

from sira_client.frames.checking import FrameError, check
from sira_client.frames.checksum import checksum
from sira_client.frames.cutting import cut
from sira_client.frames.packing import pack, pack_columns, pack_frame
from sira_client.frames.reader import FrameReader

__all__ = ["FrameError", "FrameReader", "check", "checksum", "cut", "pack", "pack_columns", "pack_frame"]
