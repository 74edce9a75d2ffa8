module rlhf.dev/e2e/bench/guard

go 1.26.0
