"""Snapshots of VMs on their hosts."""
