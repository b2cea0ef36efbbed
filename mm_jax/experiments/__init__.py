"""One run from beginning to end, and many: range tests, sweeps, verification."""
