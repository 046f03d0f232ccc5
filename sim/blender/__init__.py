"""Code of the Blender child process, the only place that imports bpy or blenderproc (GPL-3.0)."""
