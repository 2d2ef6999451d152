"""What every other package uses: records, errors, identities, addresses and the reading of small files.

Imports nothing of cai but itself, and nothing heavy: `cai --help` loads parts of it.
"""
