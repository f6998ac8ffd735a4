"""What ships to users for their tests: clocks, harnesses, and contracts for those who write backends."""
