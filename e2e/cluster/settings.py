"""Where the cluster keeps its files, and the addresses it uses."""

import os
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
REPOSITORY = SOURCE.parents[1]

CACHE = Path(os.environ.get("RLHF_CACHE", "~/.cache/rlhf-operator")).expanduser().resolve()
BINARIES = CACHE / "bin"
DOWNLOADS = CACHE / "downloads"
ARCHIVES = CACHE / "archives"
# Images outlive the cluster, so that the next `up` does not import gigabytes again.
IMAGES = CACHE / "containerd"

STATE = CACHE / "cluster"
CERTIFICATES = STATE / "certificates"
LOGS = STATE / "logs"
PIDS = STATE / "pids"
KUBECONFIG = STATE / "admin.kubeconfig"
CONTAINERD_SOCKET = STATE / "containerd" / "containerd.sock"

NODE = "node1"
# Pods must reach the API server and the DNS, so the node's address can not be a loopback one.
NODE_ADDRESS = "10.99.0.1"
NODE_BRIDGE = "rlhf-node"
POD_BRIDGE = "rlhf-pods"
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
API_SERVER = f"https://{NODE_ADDRESS}:6443"

GPUS = int(os.environ.get("RLHF_GPUS", "8"))
SCRAPE_INTERVAL = os.environ.get("RLHF_SCRAPE_INTERVAL", "2s")

GATEWAY_NAMESPACE = "rlhf-gateway"
GATEWAY_NAME = "rlhf"
GATEWAY_URL = "http://127.0.0.1:8888"
PROMETHEUS_URL = "http://127.0.0.1:30090"
PROMETHEUS_URL_IN_CLUSTER = "http://prometheus.rlhf-monitoring.svc.cluster.local:9090"
