"""A real single-node Kubernetes on a bare Debian machine, for the end-to-end tests."""

from .endpoints import Endpoints, endpoints

__all__ = ["Endpoints", "endpoints"]
