"""Copies of VMs' disks and what belongs to them, into and out of a repository."""
