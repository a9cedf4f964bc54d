"""The local page: one process's run, in progress or over. Reads run folders; never runs in the measured process."""
