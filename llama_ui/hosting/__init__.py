"""What is needed because other people visit: limits, logins, metrics, security, health checks."""
