"""An image into poses: model folders, engines, decoding, importing, training."""
