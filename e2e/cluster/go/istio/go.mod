module rlhf.dev/e2e/istio

go 1.26.0

require istio.io/api v1.31.4
