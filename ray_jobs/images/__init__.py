"""Bytes in, an upright RGB image on the model's patch grid out, or a reason why not."""
