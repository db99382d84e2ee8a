"""Blobs by digest and action results by key."""
