"""What a model's graph cannot do itself: peaks into animals."""
