.PHONY: fleet fuzz slim-apps test test-s3

# all images of fleet/, at every level of closure, checked and beside mmdebstrap: docs/fleet.md
fleet:
	scripts/fleet
	scripts/fleet --peer

# the readers of foreign bytes, ten minutes each
fuzz:
	scripts/fuzz

# the applications of fleet/slim/, slimmed and judged before and after: docs/slim-applications.md
slim-apps:
	scripts/slim-apps

test:
	scripts/test

# the registry over a bucket of a real S3 server, Ceph's
test-s3:
	scripts/test-s3
