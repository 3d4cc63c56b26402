"""Networks into ONNX graphs that take the camera's uint8 image and give points in its pixels."""
