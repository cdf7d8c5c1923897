"""The commands of `sbnode`, by what they are about."""
