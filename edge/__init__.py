"""The line: camera, detector and results as processes over ZeroMQ."""
