"""Unknown objects made for training: outlines, textures, pasting."""
