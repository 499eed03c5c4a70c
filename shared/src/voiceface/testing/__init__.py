"""What tests of several packages share: small runs, interruptions, bad files. No program imports it."""
