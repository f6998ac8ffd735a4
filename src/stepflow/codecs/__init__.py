"""Values and failures as stored JSON text, and the codecs that may wrap it."""
