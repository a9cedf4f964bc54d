"""Finished records to standard OTLP/JSON lines in the run folder, and back."""
