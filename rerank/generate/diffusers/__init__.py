"""Published diffusers pipelines: loading, placing on a device, drawing."""
