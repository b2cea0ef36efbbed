"""The host and its devices: files, console, memory, meshes, what decides bits."""
