"""Commands of `sbnode` with more to say than fits into its first file."""
