"""The practice fleet: real KVM hosts in containers on this machine, their guests, and what serves them."""
