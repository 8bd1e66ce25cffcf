"""The agentpool operator."""
