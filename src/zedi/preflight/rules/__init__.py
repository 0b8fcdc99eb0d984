"""The rules that look at settings and templates only. One file a matter; every file here is read."""
