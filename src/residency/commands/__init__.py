"""The commands, by what they are about; importing a module registers its commands."""
