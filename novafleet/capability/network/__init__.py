"""Virtual networks: libvirt networks on hosts, and the bridges hosts already have."""
