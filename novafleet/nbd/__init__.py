"""The NBD protocol over a ``ports.Channel``: a client for exports on hosts, a server for snapshots."""
