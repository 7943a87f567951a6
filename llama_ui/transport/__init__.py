"""The way to a server and back, whatever speaks there: proxies, certificates, redirects, server-sent events."""
