-- The versions of the root key, without the keys. A database gets its first row when it is opened.
CREATE TABLE root_key (
    version INTEGER PRIMARY KEY,
    key_check BLOB NOT NULL, -- tells whether a key is the one
    since INTEGER, -- NULL for the first: since there was the database
    retired_at INTEGER,
    ledger_key BLOB -- what it linked the ledger with, sealed under the newest version; NULL for the newest
) STRICT;

-- The version that links the entry.
ALTER TABLE ledger ADD COLUMN root_key_version INTEGER NOT NULL DEFAULT 1;
