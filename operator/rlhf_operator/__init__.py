"""A Kubernetes operator for the life cycle of RLHF-tuned language models."""

__version__ = "0.1.0"
