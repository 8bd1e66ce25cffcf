"""What the agentpool command does besides operating: short-lived work for a person at a terminal."""
