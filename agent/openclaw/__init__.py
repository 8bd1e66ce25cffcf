"""OpenClaw as the gateway of an instance: its configuration, its workspace, and its process."""
