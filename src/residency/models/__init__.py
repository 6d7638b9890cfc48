"""Model families behind one interface: what differs between them, and nothing else."""
