"""Model families: everything that differs between Stable Diffusion 1.x/2.x, SDXL, ... behind one protocol."""
