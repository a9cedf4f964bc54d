"""One file a subcommand, imported when it is run."""
