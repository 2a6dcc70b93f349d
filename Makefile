# The words that people type. What they mean is in .ci/, which the workflows call.
.PHONY: check test build push

# Images are named IMAGE_PREFIX/NAME:TAG: make build push IMAGE_PREFIX=registry.example.com/team TAG=0.1.0-mine
TAG ?= dev
export IMAGE_PREFIX

# Everything that a change must pass.
check:
	.ci/run

test:
	.ci/test

build:
	.ci/image $(TAG)

push:
	.ci/image-push $(TAG)
