# The longest wait for an event, longer than the app itself waits for its local stack: only a test that fails waits that
# long.
SECONDS = 400.0
