"""Simulated CT with bone known below the voxel: scenes, and the physics of their acquisition."""
