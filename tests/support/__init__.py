"""What several suites share: plain API requests, generated values, small fakes with state."""
