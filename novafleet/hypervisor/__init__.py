"""libvirt on the hosts, behind ``ports.Hypervisor``: the one package that speaks to it (docs/concepts/libvirt.md)."""
