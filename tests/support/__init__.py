# The longest wait for an event: only a test that fails waits that long.
SECONDS = 120.0
