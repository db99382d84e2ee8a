.PHONY: fleet test test-s3

# all images of fleet/, at every level of closure, checked and beside mmdebstrap: docs/fleet.md
fleet:
	scripts/fleet
	scripts/fleet --peer

test:
	scripts/test

# the registry over a bucket of a real S3 server, Ceph's
test-s3:
	scripts/test-s3
