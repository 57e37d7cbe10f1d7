"""Sample applications to run in the mesh."""
