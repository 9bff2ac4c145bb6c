"""Pictures in memory: bytes → pixels, EXIF, measures, provenance, contact sheets. Knows no disk."""
