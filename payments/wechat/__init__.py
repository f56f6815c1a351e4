"""WeChat Pay: signing and reading its messages, and a client for each of its versions."""
