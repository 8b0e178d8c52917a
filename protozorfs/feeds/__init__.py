"""Every open feed: where readers and writers meet those who fetch and serve."""
