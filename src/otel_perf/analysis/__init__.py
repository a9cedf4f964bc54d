"""What stored runs say. Commands, the local page and perf.report() use it; the recording never does."""
