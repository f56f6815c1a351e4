"""What WeChat Pay has told us unasked, as it came."""
