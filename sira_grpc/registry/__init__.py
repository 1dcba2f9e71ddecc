"""The registry: what is there, who holds it, how it is, and who should call it."""
