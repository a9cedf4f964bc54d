"""The version, in one place: a literal, because reading it from the metadata would cost 25 ms."""

__version__ = "0.1.0"
