"""The Debian archive as a source."""
