"""What the guard costs in front of a model: latency, throughput and memory, beside its peers."""
