"""Reading and writing what stages hand to each other: whole folders, JSON lines, tensors, hashes."""
