"""The Kubernetes API server: its client, and kopf as informer."""
