"""What containers are made from, and how runtimes are told."""
