"""How many instructions a frame costs on ARM, counted on an emulated board; never a time."""
