"""Real scans, where no truth is known: pictures, holes in the orbital roof, and consistency under more blur."""
