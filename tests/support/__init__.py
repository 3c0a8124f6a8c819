"""What the Python suites share. The Rust suites have their own modules here."""
