"""The system's calls as they are, past what a program puts in their place: a mock of ``os.open`` is for its own calls.

Imports only: posix, or nt on Windows. Rooms that work beside the program call these; paths are put together with
os.path all the same.
"""

from __future__ import annotations

try:
    import posix as calls
except ImportError:
    import nt as calls  # type: ignore[no-redef]

__all__ = ["calls"]
